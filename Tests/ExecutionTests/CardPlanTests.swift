import Emission
import Planning
import Recurrences
import Schedules
import Targets
import Testing

/// Which plans kernels for a card get, and what schedules refuse there.
@Suite struct CardPlanTests {
  @Test("One decay a token, or none, is walked as it comes, by as many blocks as there is room for")
  func alikePlans() throws {
    func plan(
      _ name: String, key: Int, value: Int, batch: Int = 8, heads: Int = 4, length: Int = 2048
    ) throws -> Plan {
      try Planner().plan(
        try KernelSpecification(.named(name), key: key, value: value),
        PlanRequest(), Workload(batch: batch, heads: heads, length: length))
    }
    for name in ["simple-gla", "linear-attention", "retnet", "lightning", "mamba2"] {
      let large = try plan(name, key: 256, value: 512)
      #expect(large.schedule == "warpgroup-alike" && large.valueTile == 128)
      let small = try plan(name, key: 128, value: 256)
      #expect(small.schedule == "warpgroup-alike" && small.valueTile == 64)
    }
    #expect(try plan("simple-gla", key: 128, value: 128, heads: 16).schedule == "warpgroup-alike")
    #expect(try plan("gla", key: 256, value: 512).schedule == "warpgroup-prepared")
    // Rows that copies cannot begin at.
    #expect(try plan("retnet", key: 60, value: 64).schedule == "warpgroup-prepared")
    // Few heads are cut into segments.
    let long = try plan(
      "linear-attention", key: 256, value: 512, batch: 1, heads: 4, length: 16384)
    #expect(long.schedule == "warpgroup-alike" && long.materialization == .segments(8))
  }

  @Test("Chunks made ready are walked in segments where few heads would leave the card idle")
  func preparedSegments() throws {
    func materialization(
      _ name: String, _ key: Int, _ value: Int, batch: Int = 1, heads: Int, length: Int = 16384
    ) throws -> Materialization {
      let plan = try Planner().plan(
        try KernelSpecification(.named(name), key: key, value: value), PlanRequest(),
        Workload(batch: batch, heads: heads, length: length))
      #expect(plan.schedule == "warpgroup-prepared")
      return plan.materialization
    }
    #expect(try materialization("rwkv6", 64, 64, heads: 16) == .segments(8))
    #expect(try materialization("gla", 256, 512, heads: 4) == .segments(8))
    #expect(try materialization("rwkv6", 64, 64, batch: 8, heads: 16, length: 2048) == .none)
    #expect(try materialization("gla", 256, 512, batch: 8, heads: 4, length: 2048) == .none)
    #expect(try materialization("gla", 64, 64, heads: 4, length: 512) == .none)
  }

  @Test("Where copies run on their own they bring a step's states, 64 values a block")
  func stepPlans() throws {
    func step(
      _ name: String, _ target: Target, key: Int = 128, value: Int = 128, type: ElementType = .bf16
    ) throws -> (width: Int, isCopied: Bool) {
      let specification = try KernelSpecification(
        .named(name), target, type: type, key: key, value: value)
      let plan = try #require(Schedules.stepPlan(specification))
      let kernel = try Emitter.emit(
        specification, try Planner().plan(specification, PlanRequest()), step: plan)
      return (plan.valueTile, kernel.source.text.contains("    sl_move_landed("))
    }
    for (name, value, width) in [
      ("gla", 128, 64), ("rwkv6", 64, 64), ("gated-outer", 256, 64), ("gla", 100, 64),
      ("gla", 36, 36),
    ] {
      #expect(try step(name, .sm90a, value: value) == (width, true))
    }
    #expect(try step("gla", .sm90a, key: 256, value: 512) == (64, true))
    #expect(try step("simple-gla", .sm90a, type: .f32) == (64, true))
    // Rows that do not begin at sixteen bytes, a state of one column more, too many keys, an older card.
    #expect(try step("gla", .sm90a, value: 37) == (37, false))
    #expect(try step("linear-attention-normalized", .sm90a) == (128, false))
    #expect(try step("gla", .sm90a, key: 320, type: .f32).isCopied == false)
    #expect(try step("gla", .sm80) == (128, false))
  }

  @Test("What a gradient by products of warpgroups cannot take goes to the block's kernels")
  func gradientPlans() throws {
    func schedule(
      _ recurrence: Recurrence, key: Int = 128, value: Int = 128, type: ElementType = .bf16
    ) throws -> String {
      try Planner().gradientPlan(
        try KernelSpecification(recurrence, type: type, key: key, value: value)
      ).schedule
    }
    for name in ["gla", "gla-logits"] {
      #expect(try schedule(try .named(name)) == "warpgroup-gradient")
    }
    #expect(try schedule(try .named("linear-attention")) == "alike-gradient")
    // The adjoint of a gate that all keys share is right in walks alone.
    #expect(try schedule(.simpleGLA) == "alike-gradient")
    #expect(try schedule(.simpleGLA, key: 384) == "chunk-gradient")
    // A decay as such, a parameter of a head, a gate that makes the key, another read-out.
    for name in ["gla-decay", "retnet", "hgrn2", "rwkv6"] {
      #expect(try schedule(try .named(name)) == "chunk-gradient")
    }
    for name in ["simple-gla", "linear-attention"] {
      #expect(try schedule(try .named(name), key: 40, value: 72) == "alike-gradient")
    }
    #expect(try schedule(.gla, value: 256) == "warpgroup-gradient")
    #expect(try schedule(.gla, key: 256, value: 512) == "warpgroup-gradient")
    #expect(try schedule(.gla, value: 192) == "chunk-gradient")
    #expect(try schedule(.gla, key: 64) == "chunk-gradient")
    #expect(try schedule(.gla, type: .f32) == "chunk-gradient")
    #expect(try schedule(.gatedOuter, key: 256, value: 512) == "walked-gradient")
    #expect(try schedule(.gatedOuter, key: 320) == "chunk-gradient")
    #expect(try schedule(.gatedOuter, type: .f16) == "chunk-gradient")
  }

  @Test("One decay a token, or none, has its gradient in three walks where there are heads enough")
  func alikeGradientPlans() throws {
    func plan(
      _ name: String, _ key: Int, _ value: Int, _ heads: Int, batch: Int = 8, length: Int = 2048
    ) throws -> Plan {
      try Planner().gradientPlan(
        try KernelSpecification(.named(name), key: key, value: value), PlanRequest(),
        Workload(batch: batch, heads: heads, length: length))
    }
    for name in ["simple-gla", "linear-attention"] {
      for (key, value, heads) in [(128, 256, 4), (256, 512, 4), (128, 128, 16)] {
        let found = try plan(name, key, value, heads)
        #expect(found.schedule == "alike-gradient")
        #expect(found.materialization == .chunks)
      }
      // Few heads leave most of a card to segments of their sequences.
      let found = try plan(name, 128, 256, 4, batch: 1, length: 16384)
      #expect(found.schedule == "alike-gradient")
      #expect(AlikeGradient.segments(of: found) >= 8)
    }
    #expect(try plan("gla", 128, 256, 4).schedule == "warpgroup-gradient")
    let specification = try KernelSpecification(.simpleGLA, value: 256)
    var segments = try plan("simple-gla", 128, 256, 4)
    segments.materialization = .segments(2)
    #expect(AlikeGradient().objections(to: segments, for: specification) == [])
    segments.materialization = .segments(64)
    #expect(
      AlikeGradient().objections(to: segments, for: specification)
        == ["alike-gradient has from 1 to 32 segments."])
  }

  @Test("What a gradient in three walks cannot take is said")
  func alikeGradientObstacles() throws {
    func obstacle(
      _ name: String, key: Int = 128, type: ElementType = .bf16, gate: ElementType = .f32
    ) throws -> String? {
      AlikeGradient().obstacle(
        to: try KernelSpecification(.named(name), type: type, gateType: gate, key: key, value: 72))
    }
    #expect(try obstacle("simple-gla", key: 40) == nil)
    #expect(try obstacle("linear-attention", key: 256) == nil)
    #expect(
      try obstacle("gla") == "It takes one decay a token for all keys and values, or none.")
    #expect(
      try obstacle("simple-gla", key: 320)
        == "It takes K up to 256 and V, both multiples of 8, not K = 320 and V = 72.")
    for name in ["retnet", "lightning"] {
      #expect(try obstacle(name) == "It takes no parameters of a head.")
    }
    #expect(
      try obstacle("linear-attention-normalized")
        == "It takes no normalizer and nothing beside the state's read-out.")
    #expect(try obstacle("simple-gla", gate: .bf16) == "A gate must be of f32.")
    #expect(try obstacle("simple-gla", type: .f16) != nil)
  }

  @Test("What a gradient token by token cannot walk is said")
  func walkedGradientObstacles() throws {
    func obstacle(
      _ recurrence: Recurrence, key: Int = 128, value: Int = 128, gate: ElementType = .f32
    ) throws -> String? {
      WalkedGradient().obstacle(
        to: try KernelSpecification(recurrence, gateType: gate, key: key, value: value))
    }
    #expect(try obstacle(.gatedOuter, key: 40, value: 72) == nil)
    #expect(try obstacle(.gla) == "It is for gates along both axes.")
    #expect(
      try obstacle(.gatedOuter, key: 320)
        == "It takes K up to 256 and V, both multiples of 8, not K = 320 and V = 128.")
    #expect(try obstacle(.gatedOuter, gate: .bf16) == "A gate must be of f32.")
  }

  @Test("Few heads have their gradient's walks cut into segments, as many as fill the card")
  func gradientSegments() throws {
    let specification = try KernelSpecification(.gla)
    func plan(_ batch: Int, _ heads: Int, _ length: Int) throws -> Plan {
      try Planner().gradientPlan(
        specification, PlanRequest(), Workload(batch: batch, heads: heads, length: length))
    }
    #expect(try plan(8, 16, 2048).materialization == .chunks)
    #expect(try plan(1, 64, 8192).materialization == .chunks)
    #expect(try plan(1, 16, 16384).materialization == .segments(4))
    #expect(try plan(1, 16, 16384).schedule == "warpgroup-gradient")
    var long = try plan(1, 16, 16384)
    long.materialization = .segments(33)
    #expect(
      WarpgroupGradient().objections(to: long, for: specification)
        == ["warpgroup-gradient has from 1 to 32 segments."])
    long.materialization = .none
    #expect(!WarpgroupGradient().objections(to: long, for: specification).isEmpty)
  }
}
