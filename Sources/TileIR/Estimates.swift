import Recurrences

/// What one chunk of one worker costs, counted from the tile program alone.
public struct Estimate: Hashable, Codable, Sendable {
  /// Multiplications and additions of products and recurrences.
  public var flops = 0.0
  /// Results of exponentials and their kin, one an element.
  public var transcendentals = 0.0
  /// Elements that maps, scans and copies write.
  public var elements = 0.0
  /// Bytes read from and written to the caller's tensors.
  public var tensorBytes = 0.0
  /// Bytes of all tiles of the worker.
  public var scratchBytes = 0

  public init() {}
}

extension TileProgram {
  /// The cost of one chunk in the last phase, with one query head a group.
  public var chunkEstimate: Estimate {
    var estimate = Estimate()
    guard let phase = phases.last else { return estimate }
    estimate.scratchBytes = phase.tiles.reduce(0) { $0 + $1.rows * $1.columns * $1.type.size }
    var counter = Counter(program: self)
    counter.count(phase.body, insideChunk: false)
    let scratch = estimate.scratchBytes
    estimate = counter.estimate
    estimate.scratchBytes = scratch
    return estimate
  }
}

/// Walks a chunk's statements with the loops' counts as weights.
private struct Counter {
  let program: TileProgram
  var estimate = Estimate()
  var variables: [String: Double] = [:]
  var weight = 1.0

  mutating func count(_ body: [Statement], insideChunk: Bool) {
    for statement in body {
      switch statement {
      case .note: break
      case .operation(let operation): if insideChunk { count(operation) }
      case .firstValueTile(let inner): count(inner, insideChunk: insideChunk)
      // The first body is the one that mild gates take.
      case .when(_, let inner, _): count(inner, insideChunk: insideChunk)
      case .loop(.chunks(let name), let inner):
        variables[name] = 0
        count(inner, insideChunk: true)
      case .loop(.range(let name, let from, let to, _), let inner):
        repeatBody(name, mean(to) - mean(from), inner, insideChunk)
      case .loop(let loop, let inner):
        repeatBody(loop.variable, 1, inner, insideChunk)
      }
    }
  }

  private mutating func repeatBody(
    _ variable: String, _ times: Double, _ body: [Statement], _ insideChunk: Bool
  ) {
    let outside = weight
    weight *= max(0, times)
    // Bounds inside depend on the variable's mean alone, as they are affine.
    variables[variable] = max(0, times - 1) / 2
    count(body, insideChunk: insideChunk)
    variables[variable] = nil
    weight = outside
  }

  private func mean(_ index: Index) -> Double {
    index.terms.reduce(Double(index.constant)) {
      $0 + Double($1.factor) * (variables[$1.variable] ?? 0)
    }
  }

  private func area(_ view: TileView) -> Double { Double(view.rows * view.columns) }

  private mutating func count(_ operation: Operation) {
    switch operation {
    case .map(let map):
      estimate.elements += weight * area(map.target)
      estimate.transcendentals += weight * area(map.target) * transcendentals(map.expression)
      for case .tokens(let slice) in map.operands.values {
        let type = program.tensor(slice.tensor)?.type ?? .f32
        estimate.tensorBytes += weight * Double(slice.rows * slice.columns * type.size)
      }
    case .scan(let scan): estimate.elements += weight * area(scan.target)
    case .reduce(let reduce): estimate.elements += weight * area(reduce.source)
    case .decayTotal(let total): estimate.elements += weight * area(total.decay)
    case .decayFactor(let factor): estimate.elements += weight * area(factor.decay)
    case .fold(let fold):
      estimate.elements += weight * (area(fold.folded) + area(fold.reading))
    case .transpose(let transpose): estimate.elements += weight * area(transpose.target)
    case .weigh(let weigh): estimate.elements += weight * area(weigh.target)
    case .decayMatrix(let matrix): estimate.elements += weight * area(matrix.target)
    case .multiply(let product):
      estimate.flops += 2 * weight * area(product.target) * mean(product.depth)
    case .decayedScores(let scores):
      let pairs = Double(scores.target.rows * (scores.target.rows + 1)) / 2
      estimate.flops += 3 * weight * pairs * Double(scores.query.columns)
    case .decayedValues(let values):
      let pairs = Double(values.target.rows * (values.target.rows + 1)) / 2
      estimate.flops += 3 * weight * pairs * Double(values.target.columns)
    case .recur(let recur):
      // Keys whose decays are folded, as mild ones are, pick up none here.
      let decays = recur.decay != nil && recur.decays == nil ? 1.0 : 0
      let perToken = 4 + decays + (recur.valueDecay == nil ? 0 : 3)
      estimate.flops += perToken * weight * area(recur.state) * Double(recur.output.rows)
    case .loadState(let load): estimate.tensorBytes += weight * area(load.target) * 4
    case .storeState(let store): estimate.tensorBytes += weight * area(store.source) * 4
    case .storeTokens(let store):
      let type = program.tensor(store.target.tensor)?.type ?? .f32
      estimate.tensorBytes += weight * area(store.source) * Double(type.size)
    }
  }

  private func transcendentals(_ expression: Expression) -> Double {
    var count = expression.children.reduce(0) { $0 + transcendentals($1) }
    if case .unary(let function, _) = expression {
      switch function {
      case .negate, .relu, .abs: break
      default: count += 1
      }
    }
    return count
  }
}
