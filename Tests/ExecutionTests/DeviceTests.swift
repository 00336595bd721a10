import Emission
import Execution
import Foundation
import Planning
import Recurrences
import Schedules
import Targets
import Testing

/// What can be known of kernels for a card without one.
@Suite struct DeviceTests {
  private func emit(
    _ recurrence: Recurrence, _ target: Target, type: ElementType = .bf16, key: Int = 128,
    value: Int = 128, _ request: PlanRequest = PlanRequest()
  ) throws -> EmittedKernel {
    let specification = try KernelSpecification(
      normalForm: recurrence.normalForm(), key: key, value: value, type: type, gateType: .f32,
      target: target)
    return try Emitter.emit(specification, try Planner().plan(specification, request))
  }

  @Test("Every recurrence compiles to PTX without a toolkit", arguments: Recurrence.variants)
  func compiles(_ recurrence: Recurrence) async throws {
    let bench = try await Workbench()
    for (target, type) in [(Target.sm80, ElementType.f32), (.sm90a, .bf16)] {
      let kernel = try emit(recurrence, target, type: type, key: 60, value: 100)
      let path = "\(bench.folder)/\(target.name).ptx"
      try await bench.builder.build(
        bench.builder.job(kernel.source, for: target, output: .ptx), to: path)
      let ptx = String(decoding: try Files.read(path), as: UTF8.self)
      #expect(ptx.contains(".target \(target.name)"))
      for phase in kernel.program.phases {
        #expect(ptx.contains(".entry \(kernel.name)_\(phase.name)("))
        #expect(phase.sharedBytes <= target.device!.sharedMemory)
      }
      // What lies on a thread's stack lies in the card's memory: nothing does where products go to
      // the tensor cores.
      if type == .bf16 {
        #expect(!ptx.contains(".local"), "\(kernel.name) keeps something on the stack")
      }
    }
  }

  @Test(
    "What products of warpgroups can walk compiles to them",
    arguments: ["gla", "gla-logits", "gla-decay", "simple-gla", "retnet", "linear-attention"])
  func warpgroups(_ name: String) async throws {
    let bench = try await Workbench()
    let kernel = try emit(
      try .named(name), .sm90a, PlanRequest(schedule: "warpgroup-fused"))
    let path = "\(bench.folder)/kernel.ptx"
    try await bench.builder.build(
      bench.builder.job(kernel.source, for: .sm90a, output: .ptx), to: path)
    let ptx = String(decoding: try Files.read(path), as: UTF8.self)
    for word in ["wgmma.mma_async", "cp.async.bulk.tensor", "mbarrier", "setmaxnreg"] {
      #expect(ptx.contains(word))
    }
    #expect(!ptx.contains(".local"))
    let library = "\(bench.folder)/kernel.so"
    try await bench.builder.build(bench.builder.job(kernel.source, for: .sm90a), to: library)
  }

  @Test(
    "Walks by products of warpgroups become machine code that keeps next to no registers in memory",
    .enabled("There is no ptxas on this machine.") { try await CardAssembler.find() != nil },
    arguments: [("gla", 128, 96), ("gla", 64, 64), ("simple-gla", 128, 96)])
  func machineCode(_ name: String, _ valueTile: Int, _ mostSpilled: Int) async throws {
    let kernel = try emit(
      try .named(name), .sm90a, PlanRequest(schedule: "warpgroup-fused", valueTile: valueTile))
    let kernels = try await machineCode(of: kernel)
    #expect(kernels.count == kernel.program.phases.count)
    for kernel in kernels {
      #expect(kernel.registers > 0)
      #expect(kernel.spilled <= mostSpilled, "\(kernel.name) spills \(kernel.spilled) bytes")
    }
  }

  @Test(
    "Chunks that are made ready, and their walks, become machine code that keeps next to no registers in memory",
    .enabled("There is no ptxas on this machine.") { try await CardAssembler.find() != nil },
    arguments: [
      ("rwkv6", 128, 128), ("mamba2", 128, 128), ("gla", 256, 512), ("hgrn2", 100, 200),
      ("retnet", 60, 64), ("gated-outer", 128, 256), ("gated-outer", 256, 512),
      ("gated-outer", 60, 104),
    ])
  func preparedMachineCode(_ name: String, _ key: Int, _ value: Int) async throws {
    let kernel = try emit(
      try .named(name), .sm90a, key: key, value: value, PlanRequest(schedule: "warpgroup-prepared"))
    let kernels = try await machineCode(of: kernel)
    let hasValueGate = name == "gated-outer"
    let names = ["prepare"] + (hasValueGate ? ["values"] : []) + ["walk"]
    #expect(kernels.map(\.name).sorted() == names.map { "\(kernel.name)_\($0)" })
    for kernel in kernels {
      #expect(kernel.sharedMemory <= Target.sm90a.device!.sharedMemory)
      // Three blocks at once with that much are faster than two with none.
      let most = kernel.name.hasSuffix("_walk") ? (hasValueGate ? 48 : 0) : 72
      #expect(kernel.spilled <= most, "\(kernel.name) spills \(kernel.spilled) bytes")
    }
  }

  @Test(
    "Walks of keys that all decay alike become machine code that keeps no registers in memory",
    .enabled("There is no ptxas on this machine.") { try await CardAssembler.find() != nil },
    arguments: [
      ("simple-gla", 256, 512, 128), ("linear-attention", 256, 512, 128),
      ("simple-gla", 128, 256, 64), ("linear-attention", 128, 256, 64), ("simple-gla", 256, 64, 64),
      ("mamba2", 256, 128, 128), ("mamba2", 128, 64, 64),
      ("retnet", 72, 200, 128), ("lightning", 40, 40, 40), ("simple-gla", 192, 136, 128),
      ("simple-gla", 64, 128, 128),
    ])
  func alikeMachineCode(_ name: String, _ key: Int, _ value: Int, _ valueTile: Int) async throws {
    let kernel = try emit(
      try .named(name), .sm90a, key: key, value: value,
      PlanRequest(schedule: "warpgroup-alike", valueTile: valueTile))
    let kernels = try await machineCode(of: kernel)
    #expect(kernels.map(\.name) == ["\(kernel.name)_walk"])
    for kernel in kernels {
      #expect(kernel.sharedMemory <= Target.sm90a.device!.sharedMemory)
      #expect(kernel.spilled == 0, "\(kernel.name) spills \(kernel.spilled) bytes")
    }
  }

  @Test("One decay a token, or none, is walked as it comes, by as many blocks as there is room for")
  func alikePlans() throws {
    func plan(
      _ name: String, key: Int, value: Int, batch: Int = 8, heads: Int = 4, length: Int = 2048
    ) throws -> Plan {
      try Planner().plan(
        try KernelSpecification(
          normalForm: Recurrence.named(name).normalForm(), key: key, value: value, type: .bf16,
          gateType: .f32, target: .sm90a),
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
    let long = try plan("simple-gla", key: 128, value: 128, batch: 1, heads: 16, length: 16384)
    #expect(long.schedule == "warpgroup-fused" && long.materialization == .segments(8))
  }

  @Test("Long sequences with few heads are walked in segments, others in one piece")
  func segments() async throws {
    let specification = try KernelSpecification(
      normalForm: Recurrence.gla.normalForm(), key: 128, value: 128, type: .bf16, gateType: .f32,
      target: .sm90a)
    func plan(batch: Int, length: Int) throws -> Plan {
      try Planner().plan(
        specification, PlanRequest(),
        Workload(batch: batch, heads: 16, length: length))
    }
    #expect(try plan(batch: 8, length: 2048).materialization == .none)
    #expect(try plan(batch: 32, length: 512).materialization == .none)
    let long = try plan(batch: 1, length: 16384)
    #expect(long.schedule == "warpgroup-fused")
    #expect(long.materialization == .segments(8))
    let bench = try await Workbench()
    let kernel = try Emitter.emit(specification, long)
    try await bench.builder.build(
      bench.builder.job(kernel.source, for: .sm90a), to: "\(bench.folder)/long.so")
  }

  @Test("Every schedule's two halves compile, the card's and the processor's")
  func schedules() async throws {
    let bench = try await Workbench()
    for name in ["chunk-fused", "segmented", "token-recurrent"] {
      let kernel = try emit(.gla, .sm80, PlanRequest(schedule: name))
      try await bench.builder.build(
        bench.builder.job(kernel.source, for: .sm80), to: "\(bench.folder)/\(name).so")
    }
  }

  /// What ptxas says of each kernel of a library for Hopper.
  private func machineCode(of kernel: EmittedKernel) async throws -> [KernelManifest.CardKernel] {
    let bench = try await Workbench()
    var builder = bench.builder
    builder.assembler = try await CardAssembler.find()
    let package = try await KernelPackage.build(
      kernel: kernel, for: .sm90a, to: "\(bench.folder)/package", builder: builder,
      cache: KernelCache(folder: "\(bench.folder)/cache")
    ).package
    #expect(package.manifest.assembler == builder.assembler?.version)
    return try #require(package.manifest.cardKernels)
  }

  private func emitGradient(
    _ recurrence: Recurrence, _ target: Target, type: ElementType, key: Int, value: Int,
    schedule: String? = nil
  ) throws -> EmittedKernel {
    let specification = try KernelSpecification(
      normalForm: recurrence.normalForm(), key: key, value: value, type: type, gateType: .f32,
      target: target)
    return try Emitter.emit(
      specification, try Planner().plan(specification, PlanRequest()),
      backward: try Planner().gradientPlan(specification, PlanRequest(schedule: schedule)),
      step: Schedules.stepPlan(specification))
  }

  @Test(
    "Gradients by products of warpgroups keep no registers in memory",
    .enabled("There is no ptxas on this machine.") { try await CardAssembler.find() != nil },
    arguments: [
      ("gla", ["states", "adjoints", "exact", "grouped_states", "grouped_adjoints"]),
      ("gla-logits", ["states", "exact", "grouped_states"]),
    ])
  func gradientMachineCode(_ recurrence: String, _ names: [String]) async throws {
    let kernel = try emitGradient(
      .named(recurrence), .sm90a, type: .bf16, key: 128, value: 128, schedule: "warpgroup-gradient")
    let kernels = try await machineCode(of: kernel)
    for name in names {
      let own = "\(kernel.name)_\(name)"
      let found = try #require(kernels.first { $0.name == own })
      #expect(found.sharedMemory <= Target.sm90a.device!.sharedMemory)
      #expect(found.spilled == 0, "\(own) spills \(found.spilled) bytes")
    }
  }

  @Test("Where copies run on their own they bring a step's states, 64 values a block")
  func stepPlans() throws {
    func step(
      _ name: String, _ target: Target, key: Int = 128, value: Int = 128, type: ElementType = .bf16
    ) throws -> (width: Int, isCopied: Bool) {
      let specification = try KernelSpecification(
        normalForm: Recurrence.named(name).normalForm(), key: key, value: value, type: type,
        gateType: .f32, target: target)
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

  @Test(
    "Steps keep no registers in memory",
    .enabled("There is no ptxas on this machine.") { try await CardAssembler.find() != nil },
    arguments: [("gla", 128, 128), ("rwkv6", 64, 64), ("gated-outer", 128, 256), ("gla", 256, 512)])
  func stepMachineCode(_ name: String, _ key: Int, _ value: Int) async throws {
    let specification = try KernelSpecification(
      normalForm: Recurrence.named(name).normalForm(), key: key, value: value, type: .bf16,
      gateType: .f32, target: .sm90a)
    let kernel = try Emitter.emit(
      specification, try Planner().plan(specification, PlanRequest()),
      step: Schedules.stepPlan(specification))
    let found = try #require(
      try await machineCode(of: kernel).first { $0.name == "\(kernel.name)_move" })
    #expect(found.spilled == 0, "\(found.name) spills \(found.spilled) bytes")
  }

  @Test(
    "Gradients and steps compile, the card's half and the processor's",
    arguments: [("rwkv6", Target.sm80, ElementType.f32, 60), ("gla", .sm90a, .bf16, 128)])
  func gradients(_ name: String, _ target: Target, _ type: ElementType, _ size: Int) async throws {
    let bench = try await Workbench()
    let kernel = try emitGradient(try .named(name), target, type: type, key: size, value: size)
    let library = "\(bench.folder)/kernel.so"
    try await bench.builder.build(bench.builder.job(kernel.source, for: target), to: library)
    let loaded = try #require(dlopen(library, RTLD_NOW))
    for entry in ["backward_on", "backward_workspace_size", "step_on", "step_workspace_size"] {
      #expect(dlsym(loaded, "\(kernel.name)_\(entry)") != nil)
      #expect(dlsym(loaded, "sluice_\(entry)") != nil)
    }
    let code = String(decoding: try Files.read(library), as: UTF8.self)
    let warpgroups = ["states", "adjoints", "exact"].flatMap { [$0, "grouped_\($0)"] }
    let own = ["move"] + (size == 128 ? warpgroups : ["gradient", "gather"])
    for name in own { #expect(code.contains(".entry \(kernel.name)_\(name)(")) }
  }

  @Test("States of several tiles have their gradient by products of warpgroups too")
  func wideGradient() async throws {
    let bench = try await Workbench()
    let kernel = try emitGradient(.gla, .sm90a, type: .bf16, key: 256, value: 512)
    let library = "\(bench.folder)/kernel.so"
    try await bench.builder.build(bench.builder.job(kernel.source, for: .sm90a), to: library)
    let code = String(decoding: try Files.read(library), as: UTF8.self)
    for name in ["states", "adjoints", "exact"] {
      #expect(code.contains(".entry \(kernel.name)_\(name)("))
    }
    // One set of kernels takes grouped heads too, and the tile program's own is not among them.
    for name in ["grouped_states", "gradient"] {
      #expect(!code.contains(".entry \(kernel.name)_\(name)("))
    }
  }

  @Test("What a gradient by products of warpgroups cannot take goes to the block's kernels")
  func gradientPlans() throws {
    func schedule(
      _ recurrence: Recurrence, key: Int = 128, value: Int = 128, type: ElementType = .bf16
    ) throws -> String {
      try Planner().gradientPlan(
        try KernelSpecification(
          normalForm: recurrence.normalForm(), key: key, value: value, type: type, gateType: .f32,
          target: .sm90a)
      ).schedule
    }
    for name in ["gla", "gla-logits", "linear-attention"] {
      #expect(try schedule(try .named(name)) == "warpgroup-gradient")
    }
    // The adjoint of a gate that all keys share is right in walks alone, also where few heads want segments.
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
    func plan(_ name: String, _ key: Int, _ value: Int, _ heads: Int) throws -> Plan {
      try Planner().gradientPlan(
        try KernelSpecification(
          normalForm: Recurrence.named(name).normalForm(), key: key, value: value, type: .bf16,
          gateType: .f32, target: .sm90a), PlanRequest(),
        Workload(batch: 8, heads: heads, length: 2048))
    }
    for name in ["simple-gla", "linear-attention"] {
      for (key, value, heads) in [(128, 256, 4), (256, 512, 4), (128, 128, 16)] {
        #expect(try plan(name, key, value, heads).schedule == "alike-gradient")
      }
    }
    #expect(try plan("gla", 128, 256, 4).schedule == "warpgroup-gradient")
    let specification = try KernelSpecification(
      normalForm: Recurrence.simpleGLA.normalForm(), key: 128, value: 256, type: .bf16,
      gateType: .f32, target: .sm90a)
    var segments = try plan("simple-gla", 128, 256, 4)
    segments.materialization = .segments(2)
    #expect(
      AlikeGradient().objections(to: segments, for: specification)
        == ["alike-gradient walks a whole sequence, not segments of it."])
  }

  @Test("What a gradient in three walks cannot take is said")
  func alikeGradientObstacles() throws {
    func obstacle(
      _ name: String, key: Int = 128, type: ElementType = .bf16, gate: ElementType = .f32
    ) throws -> String? {
      AlikeGradient().obstacle(
        to: try KernelSpecification(
          normalForm: Recurrence.named(name).normalForm(), key: key, value: 72, type: type,
          gateType: gate, target: .sm90a))
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

  @Test(
    "A gradient in three walks becomes machine code that keeps no registers in memory",
    .enabled("There is no ptxas on this machine.") { try await CardAssembler.find() != nil },
    arguments: [
      ("simple-gla", 128, 256), ("simple-gla", 256, 512), ("simple-gla", 40, 72),
      ("linear-attention", 128, 128), ("linear-attention", 192, 320),
    ])
  func alikeGradient(_ name: String, _ key: Int, _ value: Int) async throws {
    let specification = try KernelSpecification(
      normalForm: Recurrence.named(name).normalForm(), key: key, value: value, type: .bf16,
      gateType: .f32, target: .sm90a)
    let kernel = try Emitter.emit(
      specification, try Planner().plan(specification, PlanRequest()),
      backward: AlikeGradient().candidates(for: specification).first, step: nil)
    let kernels = try await machineCode(of: kernel)
    for own in ["walks"] + (name == "simple-gla" ? ["gates"] : []) {
      let found = try #require(kernels.first { $0.name == "\(kernel.name)_\(own)" })
      #expect(found.sharedMemory <= Target.sm90a.device!.sharedMemory)
      #expect(found.spilled == 0, "\(found.name) spills \(found.spilled) bytes")
    }
  }

  @Test("What a gradient token by token cannot walk is said")
  func walkedGradientObstacles() throws {
    func obstacle(
      _ recurrence: Recurrence, key: Int = 128, value: Int = 128, gate: ElementType = .f32
    ) throws -> String? {
      WalkedGradient().obstacle(
        to: try KernelSpecification(
          normalForm: recurrence.normalForm(), key: key, value: value, type: .bf16, gateType: gate,
          target: .sm90a))
    }
    #expect(try obstacle(.gatedOuter, key: 40, value: 72) == nil)
    #expect(try obstacle(.gla) == "It is for gates along both axes.")
    #expect(
      try obstacle(.gatedOuter, key: 320)
        == "It takes K up to 256 and V, both multiples of 8, not K = 320 and V = 128.")
    #expect(try obstacle(.gatedOuter, gate: .bf16) == "A gate must be of f32.")
  }

  @Test(
    "A gradient token by token becomes machine code that keeps no registers in memory",
    .enabled("There is no ptxas on this machine.") { try await CardAssembler.find() != nil },
    arguments: [(128, 256), (256, 512), (40, 72)])
  func walkedGradient(_ key: Int, _ value: Int) async throws {
    let kernel = try emitGradient(.gatedOuter, .sm90a, type: .bf16, key: key, value: value)
    let kernels = try await machineCode(of: kernel)
    for name in ["ahead", "queries", "back", "keys"] {
      let own = try #require(kernels.first { $0.name == "\(kernel.name)_\(name)" })
      #expect(own.sharedMemory <= Target.sm90a.device!.sharedMemory)
      #expect(own.spilled == 0, "\(own.name) spills \(own.spilled) bytes")
    }
  }

  @Test("Few heads have their gradient's walks cut into segments, as many as fill the card")
  func gradientSegments() throws {
    let specification = try KernelSpecification(
      normalForm: Recurrence.gla.normalForm(), key: 128, value: 128, type: .bf16, gateType: .f32,
      target: .sm90a)
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

  @Test func aLibraryWithoutADriverSaysSo() async throws {
    let bench = try await Workbench()
    let kernel = try emit(.gla, .sm80)
    let path = "\(bench.folder)/kernel.so"
    try await bench.builder.build(bench.builder.job(kernel.source, for: .sm80), to: path)
    guard dlopen("libcuda.so.1", RTLD_NOW) == nil else { return }
    let library = try #require(dlopen(path, RTLD_NOW))
    typealias Forward = @convention(c) (UnsafeRawPointer, UnsafeRawPointer?) -> Int32
    typealias Message = @convention(c) (Int32) -> UnsafePointer<CChar>
    let forward = unsafeBitCast(
      try #require(dlsym(library, "\(kernel.name)_forward_on")), to: Forward.self)
    let message = unsafeBitCast(
      try #require(dlsym(library, "\(kernel.name)_message")), to: Message.self)
    // No tokens: sizes and the ABI are right, and no pointer is needed.
    var arguments = [Int64](repeating: 0, count: 14 + kernel.manifest.inputs.count)
    arguments[0] = Int64(kernel.manifest.abi) | Int64(8 * arguments.count) << 32
    arguments[3] = 1
    arguments[4] = 1
    #expect(forward(arguments, nil) == 16)
    #expect(String(cString: message(16)).hasPrefix("There is no CUDA driver (libcuda.so.1)"))
    arguments[4] = 0
    #expect(forward(arguments, nil) == 3)
  }

  @Test func whatSharedMemoryCannotHoldIsRefused() throws {
    let specification = try KernelSpecification(
      normalForm: Recurrence.gla.normalForm(), key: 128, value: 128, type: .f32, gateType: .f32,
      target: .sm80)
    #expect {
      _ = try Planner().plan(specification, PlanRequest(schedule: "chunk-fused", chunk: 128))
    } throws: {
      "\($0)".contains("of shared memory, more than sm_80's 163 KiB.")
    }
  }
}
