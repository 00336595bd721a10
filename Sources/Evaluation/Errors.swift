import Recurrences
import Reference

/// How far an answer is from the reference, as a whole and where it is worst.
struct TensorError: Hashable, Sendable {
  /// RMS of the difference over RMS of the reference, over the whole tensor.
  var whole = 0.0
  /// The same over one sequence and head, so that an error confined to one cannot hide.
  var worst = 0.0
  /// Where that is: `sequence 0, head 1`.
  var place = ""
  /// Elements of it that are not finite where the reference is.
  var broken = 0

  /// - Parameters:
  ///   - groups: the elements of each sequence and head.
  ///   - terms: what `want` is a difference of, where that is so: an error is measured by the larger.
  init(_ got: [Double], _ want: [Double], groups: [Group], terms: [Double] = []) {
    // A group of few numbers may nearly cancel, and is then measured by what its neighbours have.
    let own = Self.rms(want)
    let common = max(own, Self.rms(terms))
    whole = rmsRatio(got, want)
    if common > own, own > 0 { whole *= own / common }
    for group in groups {
      var (error, size, count) = (0.0, 0.0, 0)
      for range in group.ranges {
        for place in range {
          let (a, b) = (got[place], want[place])
          count += 1
          if !b.isFinite { continue }
          if !a.isFinite {
            broken += 1
            continue
          }
          error += (a - b) * (a - b)
          size += b * b
        }
      }
      guard count > 0 else { continue }
      let scale = max((size / Double(count)).squareRoot(), common)
      let rms = (error / Double(count)).squareRoot()
      let ratio = broken > 0 ? .infinity : rms == 0 ? 0 : rms / scale
      if ratio > worst {
        worst = ratio
        place = group.name
      }
    }
  }

  private static func rms(_ numbers: [Double]) -> Double {
    let finite = numbers.filter(\.isFinite)
    guard !finite.isEmpty else { return 0 }
    return (finite.reduce(0) { $0 + $1 * $1 } / Double(finite.count)).squareRoot()
  }
}

/// The elements of a tensor that belong to one sequence and head.
struct Group: Hashable, Sendable {
  var name: String
  var ranges: [Range<Int>]
}

extension ProblemShape {
  /// The output's elements by sequence and query head.
  var outputGroups: [Group] {
    sequences.enumerated().flatMap { index, sequence in
      (0..<queryHeads).map { head in
        Group(
          name: "sequence \(index), query head \(head)",
          ranges: sequence.tokens.map { token in
            let start = ((sequence.batch * length + token) * queryHeads + head) * value
            return start..<start + value
          })
      }
    }
  }

  /// The final state's elements by sequence and head.
  func stateGroups(columns: Int) -> [Group] {
    (0..<sequences.count * heads).map { place in
      let size = key * columns
      return Group(
        name: "sequence \(place / heads), head \(place % heads)",
        ranges: [place * size..<(place + 1) * size])
    }
  }
}
