import Execution
import Foundation
import Sluice
import Testing

/// A command that is asked to stop in the middle clears away what it began.
@Suite struct InterruptionTests {
  @Test(arguments: [SIGINT, SIGTERM])
  func nothingIsLeft(number: Int32) async throws {
    let scene = try Scene()
    for name in ["work", "temporary"] { try Files.makeFolder("\(scene.folder)/\(name)") }
    let process = Process()
    process.executableURL = URL(filePath: Scene.command)
    // All sizes of one variant: seconds of compiling and trying, with a folder for each.
    process.arguments = ["verify", "gla", "--all", "--target", "generic"]
    process.currentDirectoryURL = URL(filePath: "\(scene.folder)/work")
    process.environment = ProcessInfo.processInfo.environment.merging([
      "SLUICE_CACHE": "\(scene.folder)/cache", "TMPDIR": "\(scene.folder)/temporary",
    ]) { $1 }
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    try await Task.sleep(for: .seconds(2))
    #expect(process.isRunning)
    kill(process.processIdentifier, number)
    let clock = ContinuousClock()
    let start = clock.now
    while process.isRunning, clock.now - start < .seconds(20) {
      try await Task.sleep(for: .milliseconds(20))
    }
    #expect(!process.isRunning)
    process.waitUntilExit()
    #expect(process.terminationStatus == 128 + number)
    #expect(Files.names(in: "\(scene.folder)/work").isEmpty)
    #expect(Files.names(in: "\(scene.folder)/temporary").isEmpty)
    #expect(
      Files.names(in: "\(scene.folder)/cache").allSatisfy { !$0.hasPrefix("building-") })
  }
}
