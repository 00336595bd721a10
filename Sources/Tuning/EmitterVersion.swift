import Emission
import Execution
import Recurrences
import Schedules
import Targets
import Templates

/// The version of everything that turns a plan into C: what was measured with another one says
/// nothing about this one's kernels.
public enum EmitterVersion {
  /// Sixteen hexadecimal digits of SHA-256 over Sluice's version, the vocabularies, and what is
  /// emitted for a small kernel of every schedule: an emitter that writes other C has another one.
  public static let current: String = {
    var parts = [sluiceVersion]
    for name in Templates.vocabularies + Templates.tileWords {
      parts.append(Templates.text(name) ?? "")
    }
    if let form = try? Recurrence.gla.normalForm(),
      let specification = try? KernelSpecification(
        normalForm: form, key: 16, value: 16, type: .f32, gateType: .f32, target: .generic)
    {
      for schedule in Schedules.all {
        guard schedule.obstacle(to: specification) == nil,
          let plan = schedule.candidates(for: specification).first(where: {
            schedule.objections(to: $0, for: specification).isEmpty
          }), let kernel = try? Emitter.emit(specification, plan)
        else { continue }
        parts.append(kernel.source.text)
      }
    }
    return String(ContentDigest.sha256(parts.joined(separator: "\u{0}")).prefix(16))
  }()
}
