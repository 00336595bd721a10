import Foundation
import Recurrences
import TileIR

/// How strongly the gates of a drawn problem let go.
public enum GateRegime: String, Hashable, Codable, Sendable, CaseIterable {
  /// As layers begin their training: `logsigmoid(x) / 16`.
  case mild
  /// About -5 a token, in nats.
  case strong
  /// About -40 a token: a factor that leaves f32's range within three tokens.
  case veryStrong
  /// Mild, with tokens that forget everything: -inf and -1e4, the first token, two in a row, at a
  /// chunk's edge, several within eight tokens, and in some columns only.
  case resets
  /// Every token of its own kind.
  case mixed
  /// No decay, or as little as the gate's map allows.
  case none
  /// About -1.03e-4 a token, the same at every token: all decays are rounded the same way.
  case constant
}

/// Draws the values of gates: what makes a decay as strong as the regime wants depends on the map
/// between them, so logits are found by trying.
struct GateSampler {
  let subject: Subject
  let chunk: Int

  init(_ subject: Subject) {
    self.subject = subject
    chunk = max(subject.plan.chunk, 8)
  }

  /// The values of one gate, [tokens, width] of one head of one sequence.
  func values(
    _ input: Recurrence.Input, tokens: Int, width: Int, _ regime: GateRegime,
    _ random: inout Random
  ) -> [Double] {
    let probe = GateProbe(subject, input)
    let window = chunk / 4..<chunk / 4 + 8
    var values: [Double] = []
    values.reserveCapacity(tokens * width)
    for token in 0..<tokens {
      var own = regime
      if regime == .mixed {
        own = [.mild, .mild, .strong, .veryStrong, .resets, .none].randomElement(using: &random)!
      }
      let isReset = own == .resets && (regime == .mixed || resets(token, tokens, window, &random))
      let isPartial = isReset && random.chance(0.3)
      let isInfinite = random.chance(0.5)
      for _ in 0..<width {
        if isReset && (!isPartial || random.chance(0.5)) {
          values.append(probe.reset(isInfinite: isInfinite))
        } else {
          values.append(probe.value(own == .resets ? .mild : own, &random))
        }
      }
    }
    return values
  }

  private func resets(
    _ token: Int, _ tokens: Int, _ window: Range<Int>, _ random: inout Random
  ) -> Bool {
    let places = [0, chunk / 2, chunk / 2 + 1, chunk - 1, chunk, 2 * chunk - 1, tokens - 1]
    return places.contains(token) || random.chance(window.contains(token) ? 0.4 : 0.03)
  }
}

/// Which values of one gate input give which decays.
struct GateProbe {
  private let domain: Interval
  /// The value whose decay comes closest to each strength, in nats; none where the input is no decay.
  private var found: [(strength: Double, value: Double)] = []

  init(_ subject: Subject, _ input: Recurrence.Input) {
    domain = input.domain
    guard domain != .nonPositive, domain != .unit, let decay = Self.decay(of: input, subject)
    else { return }
    let typical = Dictionary(
      subject.recurrence.inputs.map { ($0.name, Self.typical($0)) },
      uniquingKeysWith: { first, _ in first })
    let steps = stride(from: -8.0, through: 11.75, by: 0.25).map { exp2($0) }
    let grid = [0.0] + steps.flatMap { [$0, -$0] }
    let strengths = grid.filter { domain.lower <= $0 && $0 <= domain.upper }.map { x in
      (x, -log(decay.evaluate { $0 == input.name ? x : typical[$0] ?? 1 }))
    }
    guard Set(strengths.map { $0.1 }).count > 1 else { return }
    for wanted in [1e-3, 0.06, 5, 40, 800, 1e-4] {
      // The least value that will do: huge steps would drown the rest of the problem.
      let best = strengths.min { a, b in
        let (da, db) = (Self.distance(a.1, wanted), Self.distance(b.1, wanted))
        return da == db ? abs(a.0) < abs(b.0) : da < db
      }!
      found.append((wanted, best.0))
    }
  }

  private static func distance(_ strength: Double, _ wanted: Double) -> Double {
    let bounded = min(strength, 800)
    return abs(log((bounded + 1e-6) / (wanted + 1e-6)))
  }

  /// A decay that forgets everything.
  func reset(isInfinite: Bool) -> Double {
    switch domain {
    case .nonPositive: isInfinite ? -.infinity : -1e4
    case .unit: 0
    default: found.isEmpty ? clamp(isInfinite ? 60 : -60) : found[4].value
    }
  }

  func value(_ regime: GateRegime, _ random: inout Random) -> Double {
    let logit = random.normal()
    let mild = -log1p(exp(-logit)) / 16
    let strength =
      switch regime {
      case .strong: -5 * random.uniform(0.8, 1.2)
      case .veryStrong: -40 * random.uniform(0.8, 1.2)
      case .none: 0.0
      // A third of the way between two floats, as are products of 4, 8, 16 such decays.
      case .constant: log1p(-(1728 + 1.0 / 3) * 0x1p-24)
      default: mild
      }
    switch domain {
    case .nonPositive: return strength
    case .unit: return regime == .mild && random.chance(0.1) ? 1 : exp(strength)
    default: break
    }
    let place: Int =
      switch regime {
      case .none: 0
      case .strong: 2
      case .veryStrong: 3
      case .constant: 5
      default: 1
      }
    let spread = [0.1, 0.5, 0.2, 0.2, 0, 0][place]
    guard !found.isEmpty else { return clamp([0.5, 1, 3, 6, 0, 0][place] * logit) }
    return clamp(found[place].value + spread * logit)
  }

  private func clamp(_ x: Double) -> Double { max(domain.lower, min(domain.upper, x)) }

  /// The decay that an input makes, if it is a map without sums of a diagonal recurrence.
  private static func decay(of input: Recurrence.Input, _ subject: Subject)
    -> Recurrences.Expression?
  {
    guard let form = subject.normalForm.diagonal else { return nil }
    return [form.keyGate?.decay, form.valueGate?.decay].compactMap { $0 }.first { decay in
      decay.inputNames.contains(input.name) && decay.isElementwise
    }
  }

  private static func typical(_ input: Recurrence.Input) -> Double {
    max(input.domain.lower, min(input.domain.upper, input.domain.upper <= 0 ? -0.5 : 0.5))
  }
}
