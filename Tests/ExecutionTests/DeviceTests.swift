import Emission
import Execution
import Foundation
import Planning
import Recurrences
import Schedules
import Targets
import Testing

extension KernelSpecification {
  /// A recurrence's kernel for a card, in what most of these tests are about where they do not say.
  init(
    _ recurrence: Recurrence, _ target: Target = .sm90a, type: ElementType = .bf16,
    gateType: ElementType = .f32, key: Int = 128, value: Int = 128
  ) throws {
    try self.init(
      normalForm: recurrence.normalForm(), key: key, value: value, type: type, gateType: gateType,
      target: target)
  }
}

/// What can be known of kernels for a card without one.
@Suite struct DeviceTests {
  func emit(
    _ recurrence: Recurrence, _ target: Target, type: ElementType = .bf16, key: Int = 128,
    value: Int = 128, _ request: PlanRequest = PlanRequest()
  ) throws -> EmittedKernel {
    let specification = try KernelSpecification(
      recurrence, target, type: type, key: key, value: value)
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
    let path = "\(bench.folder)/kernel.so"
    try await bench.builder.build(bench.builder.job(kernel.source, for: .sm90a), to: path)
    // PTX is in every library, as text.
    let library = String(decoding: try Files.read(path), as: UTF8.self)
    for word in ["wgmma.mma_async", "cp.async.bulk.tensor", "mbarrier", "setmaxnreg"] {
      #expect(library.contains(word))
    }
    #expect(!library.contains(".local"))
  }

  @Test("Long sequences with few heads are walked in segments, others in one piece")
  func segments() async throws {
    let specification = try KernelSpecification(.gla)
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

  func emitGradient(
    _ recurrence: Recurrence, _ target: Target, type: ElementType, key: Int, value: Int,
    schedule: String? = nil, forward: String? = nil
  ) throws -> EmittedKernel {
    let specification = try KernelSpecification(
      recurrence, target, type: type, key: key, value: value)
    return try Emitter.emit(
      specification, try Planner().plan(specification, PlanRequest(schedule: forward)),
      backward: try Planner().gradientPlan(specification, PlanRequest(schedule: schedule)),
      step: Schedules.stepPlan(specification))
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

  @Test(
    "Gradients with words of their own compile beside a forward pass without",
    arguments: [
      ("linear-attention", "alike-gradient"), ("gla", "warpgroup-gradient"),
      ("gated-outer", "walked-gradient"),
    ])
  func gradientsBesideBlocks(_ name: String, _ schedule: String) async throws {
    let bench = try await Workbench()
    let kernel = try emitGradient(
      .named(name), .sm90a, type: .bf16, key: 128, value: 128, schedule: schedule,
      forward: "token-recurrent")
    try await bench.builder.build(
      bench.builder.job(kernel.source, for: .sm90a), to: "\(bench.folder)/kernel.so")
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
    let specification = try KernelSpecification(.gla, .sm80, type: .f32)
    #expect {
      _ = try Planner().plan(specification, PlanRequest(schedule: "chunk-fused", chunk: 128))
    } throws: {
      "\($0)".contains("of shared memory, more than sm_80's 163 KiB.")
    }
  }
}
