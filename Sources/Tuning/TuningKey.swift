import Emission
import Execution
import Foundation
import Planning
import Recurrences
import Schedules
import Targets

/// What a measurement is about: records with equal keys answer the same question.
public struct TuningKey: Hashable, Codable, Sendable {
  /// The recurrence's name, for people; its digest is what counts.
  public var recurrence: String
  /// SHA-256 of the recurrence's normal form.
  public var recurrenceDigest: String
  /// Such as `vector along key`: neighbours share it.
  public var gateClass: String
  public var key: Int
  public var value: Int
  public var type: ElementType
  public var gateType: ElementType
  /// Batch rows times query heads: what there is to do side by side.
  public var heads: Int
  /// Query heads a key/value head.
  public var group: Int
  /// The power of two at or below the tokens of a sequence.
  public var length: Int
  public var threads: Int
  public var target: String
  /// The processor that measured, as ``Host/processor`` names it.
  public var machine: String
  /// ``EmitterVersion``.
  public var version: String
  /// `backward` for gradients, whose time is that of a forward and a backward call; nil for forward
  /// calls alone.
  public var entry: String?

  public init(
    _ specification: KernelSpecification, _ workload: Workload, machine: String? = nil,
    isGradient: Bool = false
  ) {
    entry = isGradient ? "backward" : nil
    recurrence = specification.recurrence.name
    let form = (try? Emitter.json(specification.normalForm)) ?? "\(specification.normalForm)"
    recurrenceDigest = ContentDigest.sha256(form)
    gateClass = specification.normalForm.gateClass
    key = specification.key
    value = specification.value
    type = specification.type
    gateType = specification.gateType
    heads = workload.batch * workload.queryHeads
    group = workload.queryHeads / max(1, workload.heads)
    length = workload.length < 1 ? 0 : 1 << (Int.bitWidth - 1 - workload.length.leadingZeroBitCount)
    threads = workload.threads
    target = specification.target.name
    self.machine = machine ?? Self.machine(running: specification.target)
    version = EmitterVersion.of(specification.target)
  }

  /// This machine, or an emulator on it, as records name what measured.
  static func machine(running target: Target) -> String {
    target.isCross ? "\(target.emulator[0]) on \(Host.processor)" : Host.processor
  }

  /// Whether it is about kernels as they are emitted now.
  var isOfThisVersion: Bool { version == EmitterVersion.of(targetNamed: target) }

  /// SHA-256 over all fields.
  var digest: String {
    get throws { ContentDigest.sha256(try Emitter.json(self)) }
  }

  /// How far another problem is, in octaves of what differs; nil for what no plan carries over to:
  /// another gate class, element type, target, machine or version.
  func distance(to other: TuningKey) -> Double? {
    guard gateClass == other.gateClass, type == other.type, target == other.target,
      machine == other.machine, version == other.version, entry == other.entry
    else { return nil }
    func octaves(_ a: Int, _ b: Int) -> Double { abs(log2(Double(max(a, 1)) / Double(max(b, 1)))) }
    var distance = 2 * octaves(key, other.key) + 2 * octaves(value, other.value)
    distance += 0.25 * octaves(length, other.length) + 0.5 * octaves(group, other.group)
    distance += 2 * octaves(threads, other.threads)
    // More heads are more of the same, as soon as they fill the threads.
    distance += 0.5 * octaves(heads, other.heads)
    distance += gateType == other.gateType ? 0 : 0.5
    distance += recurrenceDigest == other.recurrenceDigest ? 0 : 0.5
    return distance
  }

  /// Why a field cannot be; nil for a key that could have been made here.
  var problem: String? {
    let sizes = [("key", key), ("value", value), ("heads", heads), ("group", group)]
    for (name, size) in sizes where size < 1 { return "its \(name) is \(size)" }
    if key > 4096 || value > 4096 { return "its key or value size is above 4096" }
    if length < 0 || length & (length - 1) != 0 { return "its length \(length) is no power of two" }
    if !(1...4096).contains(threads) { return "its threads are \(threads)" }
    if !Target.all.contains(where: { $0.name == target }) { return "its target is \"\(target)\"" }
    if machine.isEmpty { return "its machine has no name" }
    if let entry, entry != "backward" { return "its entry is \"\(entry)\"" }
    if recurrenceDigest.count != 64 || !recurrenceDigest.allSatisfy(\.isHexDigit) {
      return "its recurrenceDigest is no SHA-256"
    }
    return nil
  }
}
