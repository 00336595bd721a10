import Recurrences
import Reference

extension LawTrials {
  /// The outputs of a sum of values (and states) are the sum of the outputs; nil where the
  /// recurrence itself is not linear in them.
  func linearity() throws -> Trial? {
    let subject = subject
    let problem = try base("linearity")
    guard
      let value = subject.recurrence.inputs.first(where: { $0.name == "v" && $0.axes == .value })
    else { return nil }
    var random = Random(seed: options.seed, "linearity")
    // Small whole eighths: sums are exact in every type, so that only the kernel rounds.
    func draw(_ count: Int) -> [Double] {
      (0..<count).map { _ in Double(Int.random(in: -32...32, using: &random)) / 8 }
    }
    let matrix = problem.shape.value
    func with(_ values: [Double], _ state: [Double]) -> DrawnProblem {
      var other = problem
      other.inputs[value.name] = values
      other.initialState = problem.initialState!.enumerated().map { place, old in
        // A normalizer's column belongs to the keys.
        place % subject.stateColumns < matrix ? state[place] : old
      }
      return other
    }
    let count = problem.inputs[value.name]!.count
    let (v1, v2) = (draw(count), draw(count))
    let (s1, s2) = (draw(problem.initialState!.count), draw(problem.initialState!.count))
    let parts = [with(v1, s1), with(v2, s2), with(zip(v1, v2).map(+), zip(s1, s2).map(+))]
    let expected = try parts.map { try $0.expected(subject) }
    let sum = zip(expected[0].output, expected[1].output).map(+)
    guard rmsRatio(sum, expected[2].output) < 1e-9 else { return nil }
    return Trial(.law, "linearity", parts.map(call)) { [bounds] results in
      let outputs = results.map { $0.outputNumbers(subject.type) }
      let error = TensorError(
        zip(outputs[0], outputs[1]).map(+), outputs[2], groups: problem.shape.outputGroups)
      return [
        Assessment.Check(
          .law, "linearity", "o of a sum of values is the sum of the o", error.rank,
          atMost: 3 * bounds.output, detail: error.detail)
      ]
    }
  }

  /// With no decay the answer is plain linear attention's, by a formula that knows no gates; nil
  /// where the recurrence is more than a gate around it.
  func withoutGates() throws -> Trial? {
    let subject = subject
    guard let form = subject.normalForm.diagonal, !form.readsPrevious, form.skip == nil,
      form.normalizer == nil, form.epilogue == nil,
      form.key == .input("k", .key), form.value == .input("v", .value),
      form.query == (.input(Symbol.scale, .scalar) * .input("q", .key))
        || form.query == (.input("q", .key) * .input(Symbol.scale, .scalar))
    else { return nil }
    let gates = subject.recurrence.inputs.filter { $0.role == .gate || $0.role == .parameter }
    guard !gates.isEmpty, gates.allSatisfy({ $0.domain == .nonPositive }) else { return nil }
    var problem = try base("no gate", .none)
    for gate in gates {
      problem.inputs[gate.name] = Array(
        repeating: 0, count: problem.inputs[gate.name]!.count)
    }
    let fixed = problem
    return Trial(.law, "no gate", [call(fixed)]) { results in
      var plain = subject
      plain.normalForm = try Recurrence.linearAttention.normalForm()
      var arguments = fixed
      arguments.inputs = fixed.inputs.filter { ["q", "k", "v"].contains($0.key) }
      let expected = try arguments.expected(plain)
      return AccuracyJudge(subject: subject, problem: fixed).checks(
        results, output: expected.output, finalState: expected.finalState, group: .law,
        name: "gate 0 is linear attention")
    }
  }
}
