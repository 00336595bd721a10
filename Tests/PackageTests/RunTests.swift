import Emission
import Execution
import Recurrences
import Reference
import Targets
import Testing

/// From a file of tensors to another, against the reference.
@Suite struct RunTests {
  private func check(
    _ recurrence: Recurrence, _ type: ElementType, _ shape: ProblemShape, bound: Double,
    lengthsAs lengths: SafeTensor.ElementKind = .I64
  ) async throws {
    let bench = try await PackageBench()
    let package = try await bench.package(of: recurrence, type)
    let run = try RunCase(recurrence, package.manifest, shape, lengthsAs: lengths)
    let (input, output) = ("\(bench.folder)/in", "\(bench.folder)/out")
    try SafeTensors.write(run.tensors, to: input)
    let report = try RunFiles.run(
      KernelPackage.open(package.folder), input: input, output: output, threads: 2,
      scale: run.scale)
    #expect(report.shape == shape && report.seconds > 0)
    let results = try SafeTensors.read(output)
    #expect(results.keys.sorted() == ["final_state", "o"])
    let o = try #require(results["o"]), state = try #require(results["final_state"])
    #expect(o.type == .init(type) && state.type == .F32)
    #expect(o.shape == [shape.batch, shape.length, shape.queryHeads, shape.value])
    #expect(state.shape == [shape.sequences.count, shape.heads, shape.key, shape.value])
    #expect(rmsRatio(type.unpacked(o.bytes), run.output) <= bound)
    #expect(rmsRatio(ElementType.f32.unpacked(state.bytes), run.finalState) <= bound)
  }

  @Test func groupedHeads() async throws {
    let shape = try ProblemShape(
      batch: 2, length: 37, queryHeads: 6, heads: 3, key: 8, value: 8)
    try await check(.gla, .f32, shape, bound: 1e-5)
  }

  @Test(arguments: [SafeTensor.ElementKind.I64, .I32])
  func packedSequences(lengths: SafeTensor.ElementKind) async throws {
    let shape = try ProblemShape(
      length: 40, heads: 2, key: 8, value: 8, cumulativeLengths: [0, 0, 1, 30, 40])
    try await check(.gla, .f32, shape, bound: 1e-5, lengthsAs: lengths)
  }

  @Test func noToken() async throws {
    try await check(.gla, .f32, ProblemShape(length: 0, key: 8, value: 8), bound: 1e-5)
  }

  @Test func parameters() async throws {
    let shape = try ProblemShape(length: 20, heads: 2, key: 8, value: 8)
    try await check(.mamba2, .f32, shape, bound: 1e-5)
  }

  @Test func halves() async throws {
    let shape = try ProblemShape(length: 50, heads: 2, key: 8, value: 8)
    try await check(.gla, .bf16, shape, bound: 3.4e-3)
  }

  /// The gate of Examples/OwnRecurrence.
  @Test func aRecurrenceThatNoVariantIs() async throws {
    let own = Recurrence("rglru", "RG-LRU's gate on a matrix state") { r in
      let q = r.query(), k = r.key(), v = r.value()
      let x = r.gate("x", over: KeyAxis.self)
      let rate = r.parameter("rate", over: KeyAxis.self, domain: Interval(-80, 80))
      let a = -softplus(rate) * sigmoid(x)
      let S = r.state { previous in
        exp(a) * previous + outer(sqrt(oneMinusExp(2 * a)) * k, v)
      }
      r.output = r.scale * contract(q, S)
    }
    #expect(own.problems.isEmpty)
    let shape = try ProblemShape(batch: 2, length: 45, heads: 2, key: 8, value: 8)
    try await check(own, .f32, shape, bound: 1e-5)
  }

  @Test func callsTakeTheRecurrencesScaleAndNoState() async throws {
    let bench = try await PackageBench()
    let call = try KernelCall(try await bench.write("gla"))
    let shape = try ProblemShape(length: 3, key: 8, value: 8)
    let ones = ElementType.f32.packed([Double](repeating: 1, count: 24))
    let zeros = ElementType.f32.packed([Double](repeating: 0, count: 24))
    let outcome = try call.forward(
      inputs: ["q": ones, "k": ones, "v": ones, "g": zeros], shape: shape)
    #expect(outcome.finalState == nil)
    let o = ElementType.f32.unpacked(outcome.output)
    #expect(abs(o[23] - 3 * 8 / 8.0.squareRoot()) < 1e-4)
  }
}
