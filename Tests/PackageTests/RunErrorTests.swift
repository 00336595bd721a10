import Emission
import Execution
import Recurrences
import Targets
import Testing

/// Files of tensors that do not fit: each a sentence, and nothing is written.
@Suite struct RunErrorTests {
  private func sentence(
    _ recurrence: Recurrence = .gla, lengths: [Int]? = nil, threads: Int? = nil,
    _ change: (inout [String: SafeTensor]) -> Void
  ) async throws -> String {
    let bench = try await PackageBench()
    let package = try await bench.package(of: recurrence)
    let shape = try ProblemShape(
      batch: lengths == nil ? 2 : 1, length: 6, queryHeads: 4, heads: 2, key: 8, value: 8,
      cumulativeLengths: lengths)
    var tensors = try RunCase(recurrence, package.manifest, shape).tensors
    change(&tensors)
    try SafeTensors.write(tensors, to: "\(bench.folder)/in")
    let error = #expect(throws: SluiceError.self) {
      try RunFiles.run(
        package, input: "\(bench.folder)/in", output: "\(bench.folder)/out", threads: threads)
    }
    #expect(!Files.names(in: bench.folder).contains("out"))
    return error?.message ?? ""
  }

  @Test func names() async throws {
    let missing = try await sentence { $0["g"] = nil }
    #expect(missing.contains("has no tensor 'g'; gla takes q, k, v, g"))
    let unknown = try await sentence { $0["gate"] = SafeTensor([1], shape: [1]) }
    #expect(unknown.contains("unknown tensor 'gate'"))
  }

  @Test func types() async throws {
    let half = try await sentence {
      $0["v"] = SafeTensor(
        type: .BF16, shape: [2, 6, 2, 8], bytes: [UInt8](repeating: 0, count: 384))
    }
    #expect(half.contains("'v'") && half.contains("BF16") && half.contains("must be F32"))
    let state = try await sentence {
      $0["initial_state"] = SafeTensor(
        type: .F64, shape: [2, 2, 8, 8], bytes: [UInt8](repeating: 0, count: 2048))
    }
    #expect(state.contains("'initial_state'") && state.contains("F64"))
    let lengths = try await sentence(lengths: [0, 6]) {
      $0["cu_seqlens"] = SafeTensor([0, 6], shape: [2])
    }
    #expect(lengths.contains("I64 or I32"))
  }

  @Test func shapes() async throws {
    func with(_ name: String, _ shape: [Int]) async throws -> String {
      try await sentence {
        $0[name] = SafeTensor(
          [Float](repeating: 0, count: shape.reduce(1, *)), shape: shape)
      }
    }
    #expect(try await with("v", [2, 6, 2]).contains("must be [B, T, heads, 8]"))
    #expect(try await with("v", [2, 6, 2, 9]).contains("must be [B, T, heads, 8]"))
    #expect(try await with("v", [2, 7, 2, 8]).contains("T = 6 as 'q' has it"))
    #expect(try await with("g", [2, 6, 4, 8]).contains("heads = 2 as 'k' has it"))
    #expect(try await with("q", [2, 6, 3, 8]).contains("cannot be"))
    #expect(try await with("initial_state", [1, 2, 8, 8]).contains("must be [2, 2, 8, 8]"))
  }

  @Test func noRows() async throws {
    let found = try await sentence { tensors in
      tensors["initial_state"] = nil
      for name in tensors.keys {
        let shape = [0] + tensors[name]!.shape.dropFirst()
        tensors[name] = SafeTensor([], shape: shape)
      }
    }
    #expect(found.contains("batch must be at least 1"))
  }

  @Test func lengthsThatDoNotRise() async throws {
    for ends in [[0, 7], [1, 6], [0, 5, 4, 6], [6], []] {
      let found = try await sentence(lengths: [0, 6]) {
        $0["cu_seqlens"] = SafeTensor(
          type: .I32, shape: [ends.count], bytes: ends.flatMap { [UInt8($0), 0, 0, 0] })
      }
      #expect(found.contains("cu_seqlens must rise"), "\(ends)")
    }
  }

  @Test func gatesOutsideTheirDomain() async throws {
    let above = try await sentence { tensors in
      var numbers = tensors["g"]!.floats!
      numbers[8 * (2 * 7 + 1) + 3] = 0.25
      tensors["g"] = SafeTensor(numbers, shape: tensors["g"]!.shape)
    }
    #expect(above.contains("'g'") && above.contains("0.25 at [1, 1, 1, 3], above"))
    let parameter = try await sentence(.retnet) {
      $0["g_gamma"] = SafeTensor([-1, .infinity], shape: [2])
    }
    #expect(parameter.contains("'g_gamma'") && parameter.contains("at [1]"))
  }

  @Test func threads() async throws {
    #expect(try await sentence(threads: -1) { _ in }.contains("threads"))
    #expect(try await sentence(threads: 1 << 40) { _ in }.contains("threads"))
  }

  @Test func callsOfOtherSizes() async throws {
    let bench = try await PackageBench()
    let call = try KernelCall(try await bench.write("gla"))
    let shape = try ProblemShape(length: 1, key: 8, value: 8)
    let row = [UInt8](repeating: 0, count: 32)
    let inputs = ["q": row, "k": row, "v": row, "g": row]
    _ = try call.forward(inputs: inputs, shape: shape)
    #expect(throws: SluiceError.self) {
      try call.forward(inputs: inputs, shape: ProblemShape(length: 2, key: 8, value: 8))
    }
    #expect(throws: SluiceError.self) {
      try call.forward(inputs: inputs, shape: ProblemShape(length: 1, key: 16, value: 8))
    }
    // Sizes changed after they were checked.
    var vast = shape
    (vast.batch, vast.length) = (1 << 40, 1 << 40)
    #expect(throws: SluiceError.self) { try call.forward(inputs: inputs, shape: vast) }
    #expect(throws: SluiceError.self) {
      try call.forward(inputs: inputs, shape: shape, initialState: [1])
    }
    #expect(throws: SluiceError.self) {
      try call.forward(
        inputs: inputs.merging(["x": row]) { $1 }, shape: shape)
    }
  }
}
