import Emission
import Evaluation
import Recurrences
import Schedules
import Targets
import Testing

/// The tile programs of walks by products of warpgroups mean what their recurrences say.
@Suite struct WarpgroupTests {
  @Test(
    "The derivation agrees with the reference, in one piece, in segments and by halves of the values",
    arguments: ["gla", "simple-gla"],
    [(Materialization.none, 128), (.segments(2), 128), (.none, 64)])
  func derivation(_ name: String, _ way: (materialization: Materialization, valueTile: Int)) throws
  {
    let specification = try KernelSpecification(
      normalForm: Recurrence.named(name).normalForm(), key: 128, value: 128, type: .bf16,
      gateType: .f32, target: .sm90a)
    let plan = try #require(
      WarpgroupFused().candidates(for: specification).first {
        $0.materialization == way.materialization && $0.valueTile == way.valueTile
      })
    let program = try Emitter.lower(specification, plan)
    #expect(program.violations == [])
    for finding in try program.checkDerivation(specification, plan, seed: 7) {
      #expect(finding.passed, "\(finding)")
    }
  }

  @Test(
    "Chunks that are made ready mean what the recurrence says",
    arguments: ["rwkv6", "mamba2", "gated-outer"])
  func preparedDerivation(_ name: String) throws {
    let specification = try KernelSpecification(
      normalForm: Recurrence.named(name).normalForm(), key: 20, value: 72, type: .bf16,
      gateType: .f32, target: .sm90a)
    for plan in wholeAndCut(WarpgroupPrepared().candidates(for: specification)) {
      #expect(WarpgroupPrepared().objections(to: plan, for: specification) == [])
      let program = try Emitter.lower(specification, plan)
      #expect(program.violations == [])
      for finding in try program.checkDerivation(specification, plan, seed: 7) {
        #expect(finding.passed, "\(finding)")
      }
    }
  }

  /// The plans that walk whole sequences, and one that cuts them in two.
  private func wholeAndCut(_ plans: [Plan]) -> [Plan] {
    plans.filter {
      $0.materialization == .none
        || $0.materialization == .segments(2) && $0.valueTile == plans[0].valueTile
    }
  }

  @Test func howManySegmentsThereMayBeIsSaid() throws {
    let specification = try KernelSpecification(
      normalForm: Recurrence.named("rwkv6").normalForm(), key: 64, value: 64, type: .bf16,
      gateType: .f32, target: .sm90a)
    func objections(_ materialization: Materialization) -> [String] {
      var plan = WarpgroupPrepared().candidates(for: specification)[0]
      plan.materialization = materialization
      return WarpgroupPrepared().objections(to: plan, for: specification)
    }
    #expect(objections(.none) == [] && objections(.segments(3)) == [])
    for wrong in [Materialization.segments(1), .segments(33), .chunks] {
      #expect(objections(wrong) == ["warpgroup-prepared has from 2 to 32 segments, or none."])
    }
  }

  @Test(
    "Walks of keys that all decay alike mean what the recurrence says",
    arguments: ["simple-gla", "mamba2", "retnet", "lightning", "linear-attention"])
  func alikeDerivation(_ name: String) throws {
    let specification = try KernelSpecification(
      normalForm: Recurrence.named(name).normalForm(), key: 24, value: 72, type: .bf16,
      gateType: .f32, target: .sm90a)
    let plans = wholeAndCut(WarpgroupAlike().candidates(for: specification))
    #expect(plans.map(\.valueTile) == [72, 72, 64])
    for plan in plans {
      #expect(WarpgroupAlike().objections(to: plan, for: specification) == [])
      let program = try Emitter.lower(specification, plan)
      #expect(program.violations == [])
      for finding in try program.checkDerivation(specification, plan, seed: 7) {
        #expect(finding.passed, "\(finding)")
      }
    }
  }

  @Test(
    "A gradient in walks of keys that all decay alike means what the recurrence says",
    arguments: ["simple-gla", "linear-attention"])
  func alikeGradientDerivation(_ name: String) throws {
    let specification = try KernelSpecification(
      normalForm: Recurrence.named(name).normalForm(), key: 24, value: 72, type: .bf16,
      gateType: .f32, target: .sm90a)
    let plans = AlikeGradient().candidates(for: specification)
    #expect(
      plans.map(\.materialization)
        == [.chunks, .segments(2), .segments(4), .segments(8), .segments(16)])
    for plan in plans {
      #expect(AlikeGradient().objections(to: plan, for: specification) == [])
      let program = AlikeGradient().lower(specification, plan)
      #expect(program.violations == [])
      for finding in try program.checkGradientDerivation(specification, plan, seed: 7) {
        #expect(finding.passed, "\(finding)")
      }
    }
  }

  @Test func whatDoesNotDecayAlikeIsSaid() throws {
    func obstacle(_ name: String, key: Int = 128, map: FeatureMap? = nil) throws -> String? {
      var recurrence = try Recurrence.named(name)
      if let map { recurrence = try recurrence.mapping(map) }
      return WarpgroupAlike().obstacle(
        to: try KernelSpecification(
          normalForm: recurrence.normalForm(), key: key, value: 128, type: .bf16, gateType: .f32,
          target: .sm90a))
    }
    #expect(try obstacle("mamba2") == nil)
    #expect(
      try obstacle("gla")
        == "It takes one decay a token for all keys and values, or none.")
    #expect(
      try obstacle("simple-gla", key: 60)
        == "It takes K up to 256 and V, both multiples of 8, not K = 60 and V = 128.")
    #expect(
      try obstacle("linear-attention", map: .elu)
        == "It takes q and k as they are, or times one number a token, and no map of keys.")
  }

  @Test func whatCannotBeMadeReadyIsSaid() throws {
    func obstacle(
      _ name: String, key: Int = 128, value: Int = 128, type: ElementType = .bf16
    ) throws -> String? {
      WarpgroupPrepared().obstacle(
        to: try KernelSpecification(
          normalForm: Recurrence.named(name).normalForm(), key: key, value: value, type: type,
          gateType: .f32, target: .sm90a))
    }
    #expect(try obstacle("gla", key: 256, value: 512) == nil)
    #expect(try obstacle("rwkv6", key: 60, value: 104) == nil)
    #expect(
      try obstacle("gla", key: 320, value: 100)
        == "It takes K up to 256 and V a multiple of 8, not K = 320 and V = 100.")
    #expect(try obstacle("gla", type: .f16) == "Its products are of bf16, and the tensors are f16.")
    #expect(try obstacle("gated-outer", key: 256, value: 512) == nil)
    #expect(
      try obstacle("linear-attention-normalized")
        == "It takes no normalizer and no map of the output.")
  }

  @Test func whatStandsBesideAValueIsFound() {
    let (v, d): (Expression, Expression) = (.input("v", .value), .input("D", .scalar))
    #expect((d * v).coefficient(of: v) == d)
    #expect(((.constant(2) * v) * d).coefficient(of: v) == .constant(2) * d)
    #expect((d + v).coefficient(of: v) == nil)
    #expect((v * v).coefficient(of: v)?.axes == .value)
  }

  @Test func whatItCannotWalkIsSaid() throws {
    let specification = try KernelSpecification(
      normalForm: Recurrence.named("rwkv6").normalForm(), key: 128, value: 128, type: .bf16,
      gateType: .f32, target: .sm90a)
    #expect(WarpgroupFused().obstacle(to: specification) == "It reads out after the write.")
    // Its keys are made of the gate.
    let gated = try KernelSpecification(
      normalForm: Recurrence.named("hgrn2").normalForm(), key: 128, value: 128, type: .bf16,
      gateType: .f32, target: .sm90a)
    #expect(
      WarpgroupFused().obstacle(to: gated)
        == "q and k must each be a map of one tensor along the key, of their own.")
  }
}
