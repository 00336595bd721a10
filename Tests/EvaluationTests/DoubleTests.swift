import Emission
import Evaluation
import Planning
import Recurrences
import Schedules
import Targets
import Testing

/// Kernels in double: what gradients are checked with by differences.
@Suite("Double")
struct DoubleTests {
  @Test(
    "Both ways and by single tokens, they are the reference's but for its own rounding",
    arguments: [("rwkv6", "register-recurrent"), ("mamba2", "segmented")])
  func compiled(_ name: String, _ schedule: String) async throws {
    let fixture = try await KernelFixture()
    let specification = try KernelFixture.specification(name, type: .f64, gateType: .f64)
    let kernel = try Emitter.emit(
      specification, VerifierTests.plan(specification, schedule),
      backward: GradientVerifierTests.plan(specification),
      step: Schedules.stepPlan(specification))
    let assessment = try await fixture.assess(
      kernel.source, kernel.manifest, for: specification.target, seed: VerifierTests.seed)
    #expect(assessment.passed, "\(assessment)")
    for input in specification.recurrence.inputs {
      #expect(assessment.worst("d \(input.name)") != nil, "\(input.name) was not judged")
    }
  }

  @Test("Nothing in them is single", arguments: ["gla", "mamba2", "gated-outer", "mamba"])
  func text(_ name: String) throws {
    let specification = try KernelFixture.specification(name, type: .f64, gateType: .f64)
    let plan = try Planner().plan(specification)
    let kernel = try Emitter.emit(
      specification, plan, backward: try? Planner().gradientPlan(specification),
      step: Schedules.stepPlan(specification))
    // What stands above the vocabulary and in the manifest speaks of the plan.
    let text = kernel.source.text
    let code = text[text.firstRange(of: "#include")!.lowerBound...]
    for word in [/\bfloat\b/, /\bsl_f32\b/, /__builtin_[a-z]+f\b/, /\b[0-9]+\.[0-9]*f\b/] {
      let found = try word.firstMatch(in: code)
      #expect(found == nil, "\(name): \(found.map { String($0.output) } ?? "")")
    }
    let types =
      kernel.program.tensors.map(\.type) + kernel.program.phases.flatMap(\.tiles).map(\.type)
    #expect(Set(types) == [.f64])
  }

  @Test("Digits of a map's constants are kept")
  func constants() throws {
    let third = Recurrence("third", "a decay with a constant of many digits") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let g = r.gate("g", over: KeyAxis.self, "logits of the decay")
      let S = r.state { previous in exp(logSigmoid(g) * 0.3333333333333333) * previous + outer(k, v)
      }
      r.output = contract(q, S)
    }
    let specification = try KernelSpecification(
      normalForm: try third.normalForm(), key: 4, value: 4, type: .f64, gateType: .f64,
      target: .generic)
    let kernel = try Emitter.emit(specification, try Planner().plan(specification))
    #expect(kernel.source.text.contains("sl_set(0.3333333333333333)"))
  }

  @Test("They are refused where there are none")
  func refusals() throws {
    for (type, gateType, target) in [
      (ElementType.f64, ElementType.f64, Target.avx2), (.f64, .f64, .sm90a),
      (.f64, .f32, .generic), (.f32, .f64, .generic),
    ] {
      let specification = try KernelFixture.specification(
        "gla", type: type, gateType: gateType, target: target)
      let plan = VerifierTests.plan(specification, "token-recurrent")
      let error = #expect(throws: SluiceError.self) { try Emitter.emit(specification, plan) }
      #expect(error?.kind == .unsupported && error?.message.contains("f64") == true)
    }
  }
}
