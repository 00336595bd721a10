import Evaluation
import Execution
import Foundation
import Planning
import Targets
import Testing

/// A probe's file: what was written is read, what is foreign or damaged is refused with a sentence.
@Suite("Probe")
struct ProbeTests {
  static let host = Execution.Host(
    cpuName: "nocona", architecture: .x86, features: ["sse3"], cores: 3,
    cacheSizes: [1: 32 << 10, 2: 1 << 20])

  static func probe() -> Probe {
    Probe(host: host, target: "avx2", calibration: .assumed(for: .avx2))
  }

  private func inFolder(_ work: (String) throws -> Void) throws {
    let folder = try Files.makeUniqueFolder(in: "/tmp", prefix: "sluice-probe-")
    defer { Files.remove(folder) }
    try work(folder)
  }

  private func refusal(_ path: String, _ target: String = "avx2") -> SluiceError? {
    do {
      _ = try Probe.read(path, for: target)
      return nil
    } catch {
      return error as? SluiceError
    }
  }

  @Test("What is stored is read again")
  func roundTrip() throws {
    try inFolder { folder in
      let path = Probe.path(for: "avx2", in: folder)
      try Self.probe().store(at: path)
      #expect(try Probe.read(path, for: "avx2") == Self.probe())
      #expect(Files.names(in: Files.parent(of: path)) == ["avx2.json"])
    }
  }

  @Test("Damage, another format and another target are refused")
  func refused() throws {
    try inFolder { folder in
      let path = "\(folder)/probe.json"
      try Self.probe().store(at: path)
      let text = String(decoding: try Files.read(path), as: UTF8.self)
      #expect(refusal(path, "avx512")?.message.contains("not of avx512") == true)
      for (damaged, says) in [
        ("", "no probe"), ("[]", "no probe"), (String(text.prefix(200)), "no probe"),
        (text.replacing("\"format\" : 1", with: "\"format\" : 99"), "format 99"),
        (text.replacing("\"scores\"", with: "\"scoures\""), "damaged"),
        (text.replacing("\"threads\" : 2", with: "\"threads\" : -2"), "damaged"),
      ] {
        try Files.write(damaged, to: path)
        let error = refusal(path)
        #expect(error?.kind == .badInput, "\(says)")
        #expect(error?.message.contains(says) == true, "\(error?.message ?? "accepted")")
        #expect(error?.message.contains("sluice probe") == true)
      }
      try Files.write(text, to: path)
      #expect(refusal(path) == nil)
    }
  }

  @Test("This machine can be probed, and its figures make sense")
  func measured() async throws {
    let host = Execution.Host.detect()
    let target = host.bestTarget
    let folder = try Files.makeUniqueFolder(in: "/tmp", prefix: "sluice-probe-")
    defer { Files.remove(folder) }
    let probe = try await Probe.measure(
      target, on: host, threads: 2, builder: Builder(toolchain: Toolchain.find()),
      cache: KernelCache(folder: folder))
    let figures = probe.calibration
    #expect(figures.isPlausible)
    // Orders that hold on any machine, whatever else runs on it.
    #expect(figures.exponential > figures.multiplyAdd)
    #expect(figures.scores > figures.multiplyAdd)
    #expect(figures.firstRead > figures.memoryRead)
    #expect(figures.lastCache >= target.firstLevelCache)
  }

  @Test("A target that the machine has not is not probed")
  func foreign() async throws {
    let builder = Builder(toolchain: try await Toolchain.find())
    await #expect(throws: SluiceError.self) {
      _ = try await Probe.measure(.neon, on: Self.host, threads: 1, builder: builder)
    }
  }
}
