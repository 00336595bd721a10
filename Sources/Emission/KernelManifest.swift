import Recurrences
import Schedules
import Targets

/// What a library says of itself: enough to call it, to check it, and to make it again.
public struct KernelManifest: Hashable, Codable, Sendable {
  /// The version of the argument struct.
  public var abi: Int
  public var sluice: String
  /// The kernel's name; its symbols are `<name>_forward` and so on.
  public var name: String
  public var recurrence: Recurrence
  public var gateClass: String
  public var key: Int
  public var value: Int
  /// Columns of the state's matrix: V, and one more with a normalizer.
  public var stateColumns: Int
  public var type: ElementType
  public var gateType: ElementType
  public var target: String
  public var plan: Plan
  /// The plan of the gradient; nil where the library has no `backward` entry.
  public var backward: Plan?
  /// The plan of a single token; nil where the library has no `step` entry.
  public var step: Plan?
  /// Tokens between two states that a call may have written out, or a divisor of theirs; nil where
  /// the library writes none, and its argument struct ends with the inputs.
  public var snapshotEvery: Int?
  /// The pointers at the end of the argument struct, in their order.
  public var inputs: [Input]
  /// SHA-256 of the emitted source, hexadecimal; filled in when it is known.
  public var sourceDigest: String?
  /// SHA-256 of the library, hexadecimal; absent inside the library itself.
  public var libraryDigest: String?
  public var compiler: String?
  /// The ptxas that made the card's machine code, and what it said of the kernels; nil where the
  /// library carries PTX alone.
  public var assembler: String?
  public var cardKernels: [CardKernel]?

  /// What a thread and a block of a card's kernel take.
  public struct CardKernel: Hashable, Codable, Sendable {
    public var name: String
    /// Registers of a thread at the launch; roles may hand some to each other then.
    public var registers = 0
    /// Bytes of a thread's stack, and of registers that do not find room and are kept in memory.
    public var stack = 0
    public var spilled = 0
    /// Bytes of shared memory of a block.
    public var sharedMemory = 0
    /// Whether each of a warpgroup's products waits for the one before it, for want of registers; nil where
    /// ptxas does not say so.
    public var serialized: Bool?

    public init(name: String) { self.name = name }
  }

  public struct Input: Hashable, Codable, Sendable {
    public var name: String
    public var role: Recurrence.Input.Role
    public var axes: Axes
    public var type: ElementType
    /// Elements of one row (a token's and head's), or of a head's parameter.
    public var size: Int
    public var domain: Interval
    public var summary: String
  }

  public static let currentABI = 1

  public init(
    _ specification: KernelSpecification, _ plan: Plan, backward: Plan? = nil, step: Plan? = nil
  ) {
    abi = KernelManifest.currentABI
    sluice = sluiceVersion
    name = KernelName(specification, plan).description
    recurrence = specification.recurrence
    gateClass = specification.normalForm.gateClass
    key = specification.key
    value = specification.value
    stateColumns = specification.stateColumns
    type = specification.type
    gateType = specification.gateType
    target = specification.target.name
    self.plan = plan
    self.backward = backward
    self.step = step
    snapshotEvery = specification.snapshotEvery
    inputs = specification.recurrence.inputs.map { input in
      let type: ElementType =
        switch input.role {
        case .query, .operand: specification.type
        case .gate: specification.gateType
        case .parameter: specification.type.sums
        }
      return Input(
        name: input.name, role: input.role, axes: input.axes, type: type,
        size: specification.size(input.axes),
        domain: input.domain, summary: input.summary)
    }
  }
}

extension KernelManifest {
  /// How the emitted source's name ends.
  public var sourceSuffix: String {
    (try? Target.named(target))?.device == nil ? "c" : "cu"
  }

  /// The sizes of an input's last axes, one for each that it has: K, V, or the features.
  public func row(of input: Input) -> [Int] {
    [Axes.key, .value, .feature].filter { input.axes.contains($0) }.map {
      $0.count(key: key, value: value)
    }
  }

  /// The shape that an input's tensor has, for people: `[B, T, heads, 128]`.
  public func shape(of input: Input) -> String {
    var sizes: [String] =
      switch input.role {
      case .query: ["B", "T", "query heads"]
      case .operand, .gate: ["B", "T", "heads"]
      case .parameter: ["heads"]
      }
    sizes += row(of: input).map(String.init)
    return "[" + sizes.joined(separator: ", ") + "]"
  }
}
