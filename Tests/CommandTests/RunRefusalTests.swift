import Execution
import Sluice
import Testing

/// `run` on files that do not fit, or lie: a sentence, and no output.
@Suite struct RunRefusalTests {
  private let words = ["run", "package", "-i", "in", "-o", "out"]

  private func refused(
    _ phrase: String, at location: SourceLocation = #_sourceLocation,
    _ change: (inout [String: SafeTensor]) -> Void
  ) async throws {
    let scene = try Scene()
    let package = try await scene.package()
    let shape = try ProblemShape(length: 5, queryHeads: 2, heads: 2, key: 8, value: 8)
    var tensors = try GivenInputs(package.manifest, shape).tensors
    change(&tensors)
    try SafeTensors.write(tensors, to: "\(scene.folder)/in")
    try await scene.refusal(words, .badInput, saying: phrase, at: location)
  }

  @Test func names() async throws {
    try await refused("has no tensor 'g'") { $0["g"] = nil }
    try await refused("has an unknown tensor 'decay'") { $0["decay"] = SafeTensor([1], shape: [1]) }
  }

  @Test func typesAndShapes() async throws {
    try await refused("must be F32") { tensors in
      tensors["k"] = SafeTensor(
        type: .BF16, shape: [1, 5, 2, 8], bytes: [UInt8](repeating: 0, count: 160))
    }
    try await refused("has shape [1, 5, 1, 8]") { tensors in
      tensors["v"] = SafeTensor([Float](repeating: 0, count: 40), shape: [1, 5, 1, 8])
    }
  }

  @Test func aGateAboveZero() async throws {
    try await refused("above its domain's bound of 0.0") { tensors in
      tensors["g"] = SafeTensor([Float](repeating: 0.5, count: 80), shape: [1, 5, 2, 8])
    }
  }

  @Test(arguments: [
    ("", "it has 0 bytes"), ("short", "it has 5 bytes"),
    ("\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}", "above the limit"),
    ("\u{60}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}{}", "it claims a header of 96 bytes, and has 2"),
    ("\u{2}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}[]", "in"),
  ])
  func filesThatLie(text: String, phrase: String) async throws {
    let scene = try Scene()
    _ = try await scene.package()
    try Files.write(text, to: "\(scene.folder)/in")
    try await scene.refusal(words, .badInput, saying: phrase)
  }

  @Test func sizesThatLie() async throws {
    let scene = try Scene()
    _ = try await scene.package()
    let header = #"{"q":{"dtype":"F32","shape":[1,5,2,8],"data_offsets":[0,16]}}"#
    let prefix = (0..<8).map { UInt8(truncatingIfNeeded: header.utf8.count >> (8 * $0)) }
    try Files.write(
      prefix + Array(header.utf8) + [UInt8](repeating: 0, count: 16), to: "\(scene.folder)/in")
    try await scene.refusal(words, .badInput, saying: "'q'")
  }

  @Test func places() async throws {
    let scene = try Scene()
    let package = try await scene.package()
    try await scene.refusal(words, .io, saying: "Cannot read in")
    let shape = try ProblemShape(length: 5, queryHeads: 2, heads: 2, key: 8, value: 8)
    try SafeTensors.write(
      try GivenInputs(package.manifest, shape).tensors, to: "\(scene.folder)/in")
    try await scene.refusal(
      ["run", "package", "-i", "in", "-o", "in/out"], .cannotCreate, saying: "Cannot create")
    try await scene.refusal(
      ["run", "package", "-i", "in", "-o", "package"], .cannotCreate, saying: "is no file")
    try await scene.refusal(words + ["--threads", "-1"], .usage, saying: "threads")
  }
}
