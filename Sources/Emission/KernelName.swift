import Recurrences
import Schedules
import Targets

/// A kernel's name is a grammar, parsed and printed here only; file, symbol and cache entry share it:
///
///     gla_k128_v256_bf16_gf32_avx512_fused_c64_s16_kt128_vt64_m0_pbf16_n2
///
/// recurrence (hyphens as underscores), K, V, element type, gate type, target, schedule, chunk,
/// sub-block, key tile, value tile, head tile (`ht4`; absent for one head), materialization (`0`, a
/// number of segments, `c` for every chunk, `s` for those of the forward call), type of the products, default threads; then what is
/// chosen of the innermost loops: register block (`rb8x2`), unrolling (`u2`), blocks asked for ahead
/// (`a2`), stores (`oplain` or `ostreaming`); and where states can be written out on the way, after
/// how many tokens (`w256`).
public struct KernelName: Hashable, Codable, Sendable, CustomStringConvertible {
  public var recurrence: String
  public var key: Int
  public var value: Int
  public var type: ElementType
  public var gateType: ElementType
  public var target: String
  public var plan: Plan
  public var snapshotEvery: Int?

  public init(_ specification: KernelSpecification, _ plan: Plan) {
    recurrence = specification.recurrence.name
    key = specification.key
    value = specification.value
    type = specification.type
    gateType = specification.gateType
    target = specification.target.name
    self.plan = plan
    snapshotEvery = specification.snapshotEvery
  }

  public var description: String {
    let materialization =
      switch plan.materialization {
      case .none: "0"
      case .segments(let count): String(count)
      case .chunks: "c"
      case .saved: "s"
      }
    return [
      recurrence.replacing("-", with: "_"), "k\(key)", "v\(value)", type.rawValue,
      "g\(gateType.rawValue)", KernelName.plain(target), KernelName.short(plan.schedule),
      "c\(plan.chunk)", "s\(plan.subBlock)", "kt\(plan.keyTile)", "vt\(plan.valueTile)",
    ].joined(separator: "_") + (plan.headTile == 1 ? "" : "_ht\(plan.headTile)")
      + "_m\(materialization)_p\(plan.products.rawValue)_n\(plan.threads)"
      + plan.innerChoices.map { "_\(KernelName.prefix(of: $0.axis))\($0.value)" }.joined()
      + (snapshotEvery.map { "_w\($0)" } ?? "")
  }

  /// Reads what `description` writes; nil for anything else.
  public init?(_ text: String) {
    var parts = text.split(separator: "_", omittingEmptySubsequences: false).map(String.init)
    guard parts.count >= 14 else { return nil }
    func take(_ prefix: String) -> String? {
      guard let last = parts.popLast(), last.hasPrefix(prefix) else { return nil }
      return String(last.dropFirst(prefix.count))
    }
    func number(_ prefix: String) -> Int? { take(prefix).flatMap(Int.init) }
    if parts.last?.hasPrefix("w") == true { snapshotEvery = number("w") }
    // What the name may leave out, the last axis last.
    var inner: [InnerLoops.Axis: String] = [:]
    for axis in InnerLoops.Axis.allCases.reversed() {
      let prefix = KernelName.prefix(of: axis)
      if parts.last?.hasPrefix(prefix) == true { inner[axis] = take(prefix) }
    }
    /// One where the name does not say.
    func headTile() -> Int? { parts.last?.hasPrefix("ht") == true ? number("ht") : 1 }
    guard let threads = number("n"), let products = take("p").flatMap(ElementType.init),
      let states = take("m"), let headTile = headTile(), let valueTile = number("vt"),
      let keyTile = number("kt"),
      let subBlock = number("s"), let chunk = number("c"),
      let schedule = take("").flatMap(KernelName.long),
      let target = take("").map(KernelName.targetName),
      let gateType = take("g").flatMap(ElementType.init),
      let type = take("").flatMap(ElementType.init), let value = number("v"),
      let key = number("k"),
      let materialization = states == "0"
        ? Materialization.none
        : states == "c" ? .chunks : states == "s" ? .saved : Int(states).map({ .segments($0) })
    else { return nil }
    recurrence = parts.joined(separator: "-")
    self.key = key
    self.value = value
    self.type = type
    self.gateType = gateType
    self.target = target
    plan = Plan(
      schedule: schedule, chunk: chunk, subBlock: subBlock, keyTile: keyTile,
      valueTile: valueTile, headTile: headTile, materialization: materialization,
      threads: threads, products: products,
      inner: InnerLoops(reading: inner))
    guard description == text else { return nil }
  }

  private static func prefix(of axis: InnerLoops.Axis) -> String {
    switch axis {
    case .registerBlock: "rb"
    case .unroll: "u"
    case .ahead: "a"
    case .stores: "o"
    }
  }

  /// A target's name without what separates parts of the name: `sm90a`.
  private static func plain(_ target: String) -> String { target.replacing("_", with: "") }

  private static func targetName(_ plain: String) -> String {
    Target.all.map(\.name).first { KernelName.plain($0) == plain } ?? plain
  }

  private static let spellings = [
    "register-recurrent": "register", "chunk-fused": "fused", "matrix-fused": "matrix",
    "segmented": "seg", "token-recurrent": "token",
  ]

  /// A schedule without a spelling of its own is written without hyphens.
  private static func short(_ schedule: String) -> String {
    spellings[schedule] ?? schedule.replacing("-", with: "")
  }

  private static func long(_ short: String) -> String? {
    (Schedules.all + Schedules.gradients).map(\.name).first { KernelName.short($0) == short }
  }
}
