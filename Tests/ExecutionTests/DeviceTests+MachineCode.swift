import Emission
import Execution
import Planning
import Recurrences
import Schedules
import Targets
import Testing

/// What ptxas makes of kernels for a card: registers, shared memory, spills.
extension DeviceTests {
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
      ("rwkv6", 128, 128, 8), ("mamba2", 128, 128, 1), ("gla", 256, 512, 1), ("gla", 256, 512, 32),
      ("hgrn2", 100, 200, 8), ("retnet", 60, 64, 4), ("gated-outer", 128, 256, 1),
      ("gated-outer", 256, 512, 8), ("gated-outer", 60, 104, 2),
    ])
  func preparedMachineCode(_ name: String, _ key: Int, _ value: Int, _ segments: Int) async throws {
    let kernel = try emit(
      try .named(name), .sm90a, key: key, value: value,
      PlanRequest(schedule: "warpgroup-prepared", materialization: Self.cut(segments)))
    let kernels = try await machineCode(of: kernel)
    let hasValueGate = name == "gated-outer"
    let names =
      ["prepare"] + (hasValueGate ? ["values"] : [])
      + (segments == 1 ? [] : ["summarize", "combine"]) + ["walk"]
    #expect(kernels.map(\.name).sorted() == names.map { "\(kernel.name)_\($0)" }.sorted())
    for kernel in kernels {
      #expect(kernel.sharedMemory <= Target.sm90a.device!.sharedMemory)
      let most = kernel.name.hasSuffix("_walk") && hasValueGate ? 48 : 0
      #expect(kernel.spilled <= most, "\(kernel.name) spills \(kernel.spilled) bytes")
    }
  }

  private static func cut(_ segments: Int) -> Materialization {
    segments == 1 ? .none : .segments(segments)
  }

  @Test(
    "Walks of keys that all decay alike become machine code that keeps no registers in memory",
    .enabled("There is no ptxas on this machine.") { try await CardAssembler.find() != nil },
    arguments: [
      ("simple-gla", 256, 512, 128, 8), ("linear-attention", 256, 512, 128, 1),
      ("simple-gla", 128, 256, 64, 1), ("linear-attention", 128, 256, 64, 8),
      ("simple-gla", 256, 64, 64, 2), ("mamba2", 256, 128, 128, 1), ("mamba2", 128, 64, 64, 16),
      ("retnet", 72, 200, 128, 4), ("lightning", 40, 40, 40, 1), ("simple-gla", 192, 136, 128, 2),
      ("simple-gla", 64, 128, 128, 1),
    ])
  func alikeMachineCode(
    _ name: String, _ key: Int, _ value: Int, _ valueTile: Int, _ segments: Int
  ) async throws {
    let kernel = try emit(
      try .named(name), .sm90a, key: key, value: value,
      PlanRequest(
        schedule: "warpgroup-alike", valueTile: valueTile, materialization: Self.cut(segments)))
    let kernels = try await machineCode(of: kernel)
    let names = (segments == 1 ? [] : ["summarize", "combine"]) + ["walk"]
    #expect(kernels.map(\.name).sorted() == names.map { "\(kernel.name)_\($0)" }.sorted())
    for kernel in kernels {
      #expect(kernel.sharedMemory <= Target.sm90a.device!.sharedMemory)
      #expect(kernel.spilled == 0, "\(kernel.name) spills \(kernel.spilled) bytes")
    }
  }

  /// What ptxas says of each kernel of a library, for the first of the target's architectures.
  private func machineCode(
    of kernel: EmittedKernel, for target: Target = .sm90a
  ) async throws -> [KernelManifest.CardKernel] {
    let bench = try await Workbench()
    var builder = bench.builder
    builder.assembler = try await CardAssembler.find()
    let package = try await KernelPackage.build(
      kernel: kernel, for: target, to: "\(bench.folder)/package", builder: builder,
      cache: KernelCache(folder: "\(bench.folder)/cache")
    ).package
    #expect(package.manifest.assembler == builder.assembler?.version)
    return try #require(package.manifest.cardKernels)
  }

  @Test(
    "Gradients by products of warpgroups keep no registers in memory",
    .enabled("There is no ptxas on this machine.") { try await CardAssembler.find() != nil },
    arguments: [("gla", 128, 128), ("gla-logits", 128, 128), ("gla", 256, 512)])
  func gradientMachineCode(_ recurrence: String, _ key: Int, _ value: Int) async throws {
    let kernel = try emitGradient(
      .named(recurrence), .sm90a, type: .bf16, key: key, value: value,
      schedule: "warpgroup-gradient")
    let kernels = try await machineCode(of: kernel).filter { kernel in
      ["states", "adjoints", "exact"].contains { kernel.name.hasSuffix("_\($0)") }
    }
    #expect(kernels.count == (key == 128 ? 6 : 3))
    for found in kernels {
      #expect(found.sharedMemory <= Target.sm90a.device!.sharedMemory)
      #expect(found.spilled == 0, "\(found.name) spills \(found.spilled) bytes")
    }
  }

  @Test(
    "Gradients by words of one block keep no registers in memory",
    .enabled("There is no ptxas on this machine.") { try await CardAssembler.find() != nil },
    arguments: [
      ("gla", Target.sm90a, ElementType.bf16, 64), ("rwkv6", .sm90a, .bf16, 128),
      ("hgrn2", .sm90a, .bf16, 128), ("rwkv6", .sm90a, .f16, 128), ("gla", .sm80, .bf16, 128),
      ("simple-gla", .sm80, .bf16, 128), ("gated-outer", .sm80, .bf16, 64),
    ])
  func blockGradient(
    _ recurrence: String, _ target: Target, _ type: ElementType, _ size: Int
  ) async throws {
    let kernel = try emitGradient(.named(recurrence), target, type: type, key: size, value: size)
    let kernels = try await machineCode(of: kernel, for: target)
    let found = try #require(kernels.first { $0.name == "\(kernel.name)_gradient" })
    #expect(found.spilled == 0, "\(found.name) spills \(found.spilled) bytes")
  }

  @Test(
    "Steps keep no registers in memory",
    .enabled("There is no ptxas on this machine.") { try await CardAssembler.find() != nil },
    arguments: [("gla", 128, 128), ("rwkv6", 64, 64), ("gated-outer", 128, 256), ("gla", 256, 512)])
  func stepMachineCode(_ name: String, _ key: Int, _ value: Int) async throws {
    let specification = try KernelSpecification(.named(name), key: key, value: value)
    let kernel = try Emitter.emit(
      specification, try Planner().plan(specification, PlanRequest()),
      step: Schedules.stepPlan(specification))
    let found = try #require(
      try await machineCode(of: kernel).first { $0.name == "\(kernel.name)_move" })
    #expect(found.spilled == 0, "\(found.name) spills \(found.spilled) bytes")
  }

  @Test(
    "A gradient in three walks becomes machine code that keeps no registers in memory, and overlaps products",
    .enabled("There is no ptxas on this machine.") { try await CardAssembler.find() != nil },
    arguments: [
      ("simple-gla", 128, 256, 1), ("simple-gla", 256, 512, 1), ("simple-gla", 40, 72, 1),
      ("simple-gla", 192, 320, 1), ("linear-attention", 128, 128, 1),
      ("linear-attention", 192, 320, 1), ("simple-gla", 128, 256, 8), ("simple-gla", 256, 512, 8),
    ])
  func alikeGradient(_ name: String, _ key: Int, _ value: Int, _ segments: Int) async throws {
    let specification = try KernelSpecification(.named(name), key: key, value: value)
    let plan = AlikeGradient().candidates(for: specification).first {
      AlikeGradient.segments(of: $0) == segments
    }
    let kernel = try Emitter.emit(
      specification, try Planner().plan(specification, PlanRequest()), backward: plan, step: nil)
    let kernels = try await machineCode(of: kernel)
    let gates = name == "simple-gla" ? ["gates"] : [], ahead = segments > 1 ? ["ahead"] : []
    for own in ["walks"] + gates + ahead {
      let found = try #require(kernels.first { $0.name == "\(kernel.name)_\(own)" })
      #expect(found.sharedMemory <= Target.sm90a.device!.sharedMemory)
      #expect(found.spilled == 0, "\(found.name) spills \(found.spilled) bytes")
      #expect(found.serialized == nil, "\(found.name) has products that wait for each other")
    }
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
}
