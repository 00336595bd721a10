import Emission
import Execution
import Recurrences
import Schedules
import Targets
import Templates

/// The version of everything that turns a plan into code for a target: what was measured with another one
/// says nothing about this one's kernels. Processors have one, cards another: what changes for cards
/// leaves processors' records what they were, and the other way round.
public enum EmitterVersion {
  /// Sixteen hexadecimal digits.
  public static func of(_ target: Target) -> String { target.device == nil ? processors : cards }

  /// The same of a target by its name; nil for one that is not known.
  static func of(targetNamed name: String) -> String? {
    Target.all.first { $0.name == name }.map(of)
  }

  private static let processors = digest(
    texts: (Templates.vocabularies + Templates.tileWords).map { Templates.text($0) ?? "" },
    kernels: kernels(of: .gla, key: 16, .f32, .generic) + kernels(of: .gla, key: 32, .bf16, .amx))

  private static let cards = digest(
    texts: Templates.deviceTexts.map { Templates.text($0) ?? "" },
    kernels: [Recurrence.gla, .simpleGLA].flatMap { recurrence in
      [.sm80, .sm90a].flatMap { kernels(of: recurrence, key: 128, .bf16, $0) }
    })

  /// SHA-256 over Sluice's version, vocabularies and what is emitted: an emitter that writes other text has
  /// another one.
  static func digest(texts: [String], kernels: [String]) -> String {
    let parts = [sluiceVersion] + texts + kernels
    return String(ContentDigest.sha256(parts.joined(separator: "\u{0}")).prefix(16))
  }

  /// What is emitted for a small kernel of every schedule, gradients' too.
  private static func kernels(
    of recurrence: Recurrence, key: Int, _ type: ElementType, _ target: Target
  ) -> [String] {
    guard let form = try? recurrence.normalForm(),
      let specification = try? KernelSpecification(
        normalForm: form, key: key, value: key, type: type, gateType: .f32, target: target)
    else { return [] }
    func first(of schedule: any Schedule) -> Plan? {
      guard schedule.obstacle(to: specification) == nil else { return nil }
      return schedule.candidates(for: specification).first {
        schedule.objections(to: $0, for: specification).isEmpty
      }
    }
    let plans = Schedules.all.compactMap(first)
    guard let forward = plans.first else { return [] }
    let gradients = Schedules.gradients.compactMap(first)
    let pairs = plans.map { ($0, nil) } + gradients.map { (forward, $0) }
    return pairs.compactMap { plan, backward in
      try? Emitter.emit(specification, plan, backward: backward).source.text
    }
  }
}
