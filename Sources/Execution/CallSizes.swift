import Emission
import Recurrences
import Targets

/// How many bytes and numbers the tensors of one call have.
struct CallSizes {
  private var inputs: [String: Int] = [:]
  /// Bytes of the output.
  let output: Int
  /// Bytes of the initial and final states.
  let state: Int

  /// - Throws: a sentence for sizes that are not the kernel's, or too large to count.
  init(_ manifest: KernelManifest, _ shape: ProblemShape) throws(SluiceError) {
    guard shape.key == manifest.key, shape.value == manifest.value else {
      throw SluiceError(
        .badInput,
        "\(manifest.name) was made for K = \(manifest.key) and V = \(manifest.value), "
          + "not for K = \(shape.key) and V = \(shape.value).")
    }
    let tokens = [shape.batch, shape.length]
    for input in manifest.inputs {
      let rows =
        switch input.role {
        case .query: tokens + [shape.queryHeads]
        case .operand, .gate: tokens + [shape.heads]
        case .parameter: [shape.heads]
        }
      inputs[input.name] = try Self.product(rows + [input.size, input.type.size])
    }
    output = try Self.product(
      tokens + [shape.queryHeads, manifest.value, manifest.type.size])
    let sequences = shape.cumulativeLengths.map { $0.count - 1 } ?? shape.batch
    state = try Self.product([
      sequences, shape.heads, manifest.key, manifest.stateColumns, manifest.type.sums.size,
    ])
  }

  /// Whether a call brings all inputs, nothing else, and each in its size.
  func check(
    _ given: [String: [UInt8]], _ initialState: [UInt8]?
  ) throws(SluiceError) {
    for (name, size) in inputs.sorted(by: { $0.key < $1.key }) {
      guard let bytes = given[name] else {
        throw SluiceError(.badInput, "The input '\(name)' is missing.")
      }
      guard bytes.count == size else {
        throw SluiceError(
          .badInput, "The input '\(name)' has \(bytes.count) bytes, and needs \(size).")
      }
    }
    if let unknown = given.keys.sorted().first(where: { inputs[$0] == nil }) {
      throw SluiceError(.badInput, "There is no input '\(unknown)'.")
    }
    if let initialState, initialState.count != state {
      throw SluiceError(
        .badInput,
        "The initial state has \(initialState.count) bytes, and needs \(state).")
    }
  }

  private static func product(_ factors: [Int]) throws(SluiceError) -> Int {
    var product = 1
    for factor in factors {
      let (next, overflows) = product.multipliedReportingOverflow(by: factor)
      if overflows || factor < 0 {
        throw SluiceError(.badInput, "The sizes of this call are negative or too large.")
      }
      product = next
    }
    return product
  }
}
