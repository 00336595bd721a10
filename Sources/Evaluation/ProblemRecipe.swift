import Recurrences
import Reference

/// What a drawn problem is to be like; with a seed it fixes every number.
public struct ProblemRecipe: Hashable, Codable, Sendable {
  public var name: String
  public var batch = 1
  /// Tokens of each sequence; more than one number, or `isPacked`, packs them into one row.
  public var lengths: [Int]
  public var isPacked = false
  public var heads = 2
  /// Query heads a key/value head.
  public var group = 1
  public var gates = GateRegime.mild
  public var magnitudes = Magnitudes()
  public var hasInitialState = false
  public var wantsFinalState = true
  /// The recurrence's own default when nil.
  public var scale: Double?

  /// Factors on the numbers drawn.
  public struct Magnitudes: Hashable, Codable, Sendable {
    public var query = 1.0
    public var key = 1.0
    public var value = 1.0
  }

  package init(_ name: String, _ lengths: [Int], isPacked: Bool? = nil) {
    self.name = name
    self.lengths = lengths
    self.isPacked = isPacked ?? (lengths.count != 1)
  }

  /// The same recipe after changes.
  package func with(_ change: (inout ProblemRecipe) -> Void) -> ProblemRecipe {
    var copy = self
    change(&copy)
    return copy
  }

  func shape(_ subject: Subject) throws(ShapeError) -> ProblemShape {
    let ends = lengths.reduce(into: [0]) { $0.append($0.last! + $1) }
    return try ProblemShape(
      batch: batch, length: ends.last!, queryHeads: heads * group, heads: heads,
      key: subject.key, value: subject.value, cumulativeLengths: isPacked ? ends : nil)
  }

  /// Multiply-adds of the useful work, roughly what the reference and a kernel take.
  func cost(_ subject: Subject) -> Double {
    let tokens = Double(batch * lengths.reduce(0, +))
    return tokens * Double(heads * (group + 1)) * Double(subject.key * subject.value)
  }
}

extension ProblemRecipe {
  /// Problems that every kernel must pass, the most telling first.
  ///
  /// - Parameter segments: into how many parts the plan cuts a sequence.
  static func essential(chunk C: Int, segments: Int = 1) -> [ProblemRecipe] {
    [
      ProblemRecipe("two chunks and a tail, resets", [2 * C + C / 2 + 1]).with {
        $0.gates = .resets
        $0.hasInitialState = true
        $0.batch = 2
      },
      ProblemRecipe("packed, mild", [0, 1, C + 3, 0, 5, 2 * C - 1, 1]).with {
        $0.hasInitialState = true
        $0.group = 2
      },
      ProblemRecipe("one token", [1]).with { $0.hasInitialState = true },
      ProblemRecipe("no token", [0]).with { $0.hasInitialState = true },
      ProblemRecipe("chunk - 1, mild", [max(1, C - 1)]).with {
        $0.batch = 2
        $0.heads = 3
      },
      ProblemRecipe("one chunk, strong", [C]).with { $0.gates = .strong },
      ProblemRecipe("chunk + 1, grouped heads", [C + 1]).with {
        $0.group = 3
        $0.hasInitialState = true
        $0.scale = 0.7
      },
      ProblemRecipe("three chunks, very strong", [3 * C]).with {
        $0.gates = .veryStrong
        $0.hasInitialState = true
      },
      ProblemRecipe("packed, resets, no states", [C, 1, 0, 2 * C + 1]).with {
        $0.gates = .resets
        $0.wantsFinalState = false
      },
      ProblemRecipe("four chunks and a token, mixed gates", [4 * C + 1]).with {
        $0.gates = .mixed
        $0.group = 2
      },
      ProblemRecipe("no decay", [C + C / 2]).with { $0.gates = .none },
      // Every decay is rounded the same way, and over thousands of tokens that could add up. Outputs of
      // 128 columns and more outgrow the caches here.
      ProblemRecipe("T = 4097, constant", [4097]).with {
        $0.gates = .constant
        $0.heads = 1
      },
      // Two chunks and more a segment, and gates under which what was long ago still counts.
      ProblemRecipe("several chunks, mild", [(2 * min(segments, 16) + 1) * C + 1]).with {
        $0.hasInitialState = true
        $0.heads = 1
      },
    ]
  }

  /// Numbers far from one, whose results stay in range.
  static func extremes(chunk C: Int, _ type: ElementType) -> [ProblemRecipe] {
    let large = type == .f16 ? 2.0 : 1e12
    return [
      ("small queries, large keys", Magnitudes(query: 1 / large, key: large)),
      ("small keys, large values", Magnitudes(key: 1 / large, value: large)),
      ("everything small", Magnitudes(query: 1 / large, key: 1 / large.squareRoot())),
      ("large values", Magnitudes(value: large)),
    ].map { name, magnitudes in
      ProblemRecipe(name, [C + C / 2 + 1]).with {
        $0.magnitudes = magnitudes
        $0.gates = .mixed
        $0.hasInitialState = true
      }
    }
  }

  /// Fixed lengths under every gate regime.
  static func thorough(chunk C: Int) -> [ProblemRecipe] {
    var recipes: [ProblemRecipe] = []
    for length in [15, 63, 64, 65, 200] {
      for regime in [GateRegime.mild, .strong, .resets] {
        recipes.append(
          ProblemRecipe("T = \(length), \(regime.rawValue)", [length]).with {
            $0.gates = regime
            $0.hasInitialState = length % 2 == 0
            $0.heads = length == 65 ? 3 : 1
          })
      }
    }
    for regime in [GateRegime.mild, .mixed] {
      recipes.append(
        ProblemRecipe("T = 1000, \(regime.rawValue)", [1000]).with {
          $0.gates = regime
          $0.heads = 1
          $0.hasInitialState = true
        })
    }
    return recipes
  }
}
