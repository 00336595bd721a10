import Emission
import Recurrences
import Targets

/// Runs a package's kernel on a file of tensors.
public enum RunFiles {
  /// What was run, and how long the call took.
  public struct Report: Hashable, Codable, Sendable {
    public var shape: ProblemShape
    /// Of the kernel's call alone: no reading, no writing.
    public var seconds: Double
  }

  /// Names in a file that are not inputs of the recurrence.
  static let initialState = "initial_state"
  static let lengths = "cu_seqlens"

  /// Reads the inputs by their names, and `initial_state` and `cu_seqlens` where they are; writes
  /// `o` [B, T, query heads, V] and `final_state` [sequences, heads, K, state columns].
  ///
  /// - Throws: a sentence for what is missing, unknown, of another type or shape, or outside its
  ///   domain; nothing is written then.
  @discardableResult
  public static func run(
    _ package: KernelPackage, input: String, output: String, threads: Int? = nil,
    scale: Double? = nil
  ) throws(SluiceError) -> Report {
    try run(KernelCall(package), input: input, output: output, threads: threads, scale: scale)
  }

  /// As above, with a library that is loaded already.
  @discardableResult
  public static func run(
    _ call: KernelCall, input: String, output: String, threads: Int? = nil, scale: Double? = nil
  ) throws(SluiceError) -> Report {
    let manifest = call.manifest
    let inputs = try read(input, for: manifest)
    let shape = inputs.shape
    let clock = ContinuousClock()
    let start = clock.now
    let outcome = try call.forward(
      inputs: inputs.bytes, shape: shape, scale: scale, initialState: inputs.initialState,
      wantsFinalState: true, threads: threads)
    let duration = start.duration(to: clock.now)
    let stateShape = RunShape.state(shape, manifest)
    try SafeTensors.write(
      [
        "o": SafeTensor(
          type: SafeTensor.ElementKind(manifest.type),
          shape: [shape.batch, shape.length, shape.queryHeads, shape.value],
          bytes: outcome.output),
        "final_state": SafeTensor(
          type: SafeTensor.ElementKind(manifest.type.sums), shape: stateShape,
          bytes: outcome.finalState ?? []),
      ], to: output)
    return Report(shape: shape, seconds: duration / .seconds(1))
  }

  /// What a file brings to a call.
  public struct Inputs: Hashable, Sendable {
    /// By name, in the manifest's types.
    public var bytes: [String: [UInt8]]
    public var shape: ProblemShape
    /// [sequences, heads, K, state columns] in the type of the manifest's sums; zero when nil.
    public var initialState: [UInt8]?
  }

  /// Reads and checks a file: names, types, shapes, and that gates and parameters are in their
  /// domains.
  public static func read(
    _ file: String, for manifest: KernelManifest
  ) throws(SluiceError) -> Inputs {
    let tensors = try SafeTensors.read(file)
    try checkNames(tensors, manifest, file)
    for known in manifest.inputs {
      try checkType(tensors[known.name]!, SafeTensor.ElementKind(known.type), known.name, file)
    }
    let shape = try RunShape.infer(tensors, manifest, file)
    for known in manifest.inputs where known.role == .gate || known.role == .parameter {
      try Domain.check(tensors[known.name]!, known, file)
    }
    if let given = tensors[initialState] {
      try checkType(given, SafeTensor.ElementKind(manifest.type.sums), initialState, file)
    }
    return Inputs(
      bytes: Dictionary(
        uniqueKeysWithValues: manifest.inputs.map { ($0.name, tensors[$0.name]!.bytes) }),
      shape: shape, initialState: tensors[initialState]?.bytes)
  }

  private static func checkNames(
    _ tensors: [String: SafeTensor], _ manifest: KernelManifest, _ file: String
  ) throws(SluiceError) {
    let names = manifest.inputs.map(\.name)
    let listed =
      "\(manifest.recurrence.name) takes \(names.joined(separator: ", ")), and perhaps "
      + "\(initialState) and \(lengths)."
    if let missing = names.first(where: { tensors[$0] == nil }) {
      throw SluiceError(.badInput, "\(file) has no tensor '\(missing)'; \(listed)")
    }
    let known = Set(names + [initialState, lengths])
    if let unknown = tensors.keys.sorted().first(where: { !known.contains($0) }) {
      throw SluiceError(.badInput, "\(file) has an unknown tensor '\(unknown)'; \(listed)")
    }
  }

  private static func checkType(
    _ tensor: SafeTensor, _ wanted: SafeTensor.ElementKind, _ name: String, _ file: String
  ) throws(SluiceError) {
    guard tensor.type == wanted else {
      throw SluiceError(
        .badInput,
        "The tensor '\(name)' of \(file) is of type \(tensor.type.rawValue), and must be "
          + "\(wanted.rawValue).")
    }
  }
}
