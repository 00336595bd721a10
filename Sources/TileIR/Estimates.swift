/// An operation of a phase, and how often it runs.
public struct CountedOperation: Hashable, Sendable {
  public var operation: Operation
  public var occasion: Occasion
  /// How often on that occasion; a mean where workers differ.
  public var times: Double
  /// The mean of p that a product sums; zero for other operations.
  public var depth: Double

  /// When an operation runs.
  public enum Occasion: Hashable, Sendable, CaseIterable {
    /// Once a worker: before or after its walk.
    case worker
    /// At every chunk that a worker walks.
    case chunk
    /// At every segment that a worker walks.
    case segment
  }
}

extension TileProgram {
  /// The operations of a phase with their counts, for a cost model.
  ///
  /// - Parameters:
  ///   - heads: heads that there are; a worker holds `headTile` of them, or all.
  ///   - queryHeads: query heads that share a key/value head.
  public func countedOperations(
    of phase: Phase, heads: Int, queryHeads: Double
  ) -> [CountedOperation] {
    var counter = Counter(
      chunk: Double(chunk), valueTiles: Double(valueTiles), heads: Double(min(headTile, heads)),
      queryHeads: queryHeads)
    counter.count(phase.body, .worker)
    return counter.found
  }
}

/// Walks a phase's statements with the loops' counts as weights.
private struct Counter {
  let chunk: Double
  let valueTiles: Double
  let heads: Double
  let queryHeads: Double
  var found: [CountedOperation] = []
  var variables: [String: Double] = [:]
  var weight = 1.0

  mutating func count(_ body: [Statement], _ occasion: CountedOperation.Occasion) {
    for statement in body {
      switch statement {
      case .note: break
      case .operation(let operation):
        var depth = 0.0
        if case .multiply(let product) = operation { depth = mean(product.depth) }
        found.append(
          CountedOperation(operation: operation, occasion: occasion, times: weight, depth: depth))
      case .firstValueTile(let inner): weighted(1 / valueTiles) { $0.count(inner, occasion) }
      // The first body is the one that mild gates take.
      case .when(_, let inner, _): count(inner, occasion)
      case .loop(.chunks(let name), let inner), .loop(.chunksBackward(let name), let inner):
        variables[name] = 0
        count(inner, .chunk)
      case .loop(.segments(let name), let inner):
        variables[name] = 0
        count(inner, .segment)
      case .loop(.heads(let name), let inner):
        variables[name] = (heads - 1) / 2
        weighted(heads) { $0.count(inner, occasion) }
        variables[name] = nil
      case .loop(.tokens(let name, _), let inner):
        variables[name] = (chunk - 1) / 2
        weighted(chunk) { $0.count(inner, occasion) }
        variables[name] = nil
      case .loop(.queryHeads, let inner): weighted(queryHeads) { $0.count(inner, occasion) }
      case .loop(.range(let name, let from, let to, _), let inner):
        let times = max(0, mean(to) - mean(from))
        // Bounds inside depend on the variable's mean alone, as they are affine.
        variables[name] = mean(from) + max(0, times - 1) / 2
        weighted(times) { $0.count(inner, occasion) }
        variables[name] = nil
      }
    }
  }

  private mutating func weighted(_ factor: Double, _ work: (inout Counter) -> Void) {
    let outside = weight
    weight *= factor
    work(&self)
    weight = outside
  }

  private func mean(_ index: Index) -> Double {
    index.terms.reduce(Double(index.constant)) {
      $0 + Double($1.factor) * (variables[$1.variable] ?? 0)
    }
  }
}
