import ArgumentParser
import Execution
import Foundation
import Targets

struct DoctorVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Looks at this machine: what is there, what is missing, how to install it.")

  @OptionGroup var tools: ToolOptions
  @OptionGroup var output: OutputOptions

  struct Finding: Encodable {
    var what: String
    var found: String
    var isNeeded: Bool
    var isThere: Bool
    var remedy: String?
  }

  func run() async throws {
    let findings = await examine()
    if output.json {
      try printJSON(findings)
    } else {
      print(
        table(
          [["", "WHAT", "FOUND"]]
            + findings.map { finding in
              [
                finding.isThere ? "ok" : finding.isNeeded ? "MISSING" : "absent", finding.what,
                finding.found + (finding.remedy.map { " -- " + $0 } ?? ""),
              ]
            }))
    }
    let missing = findings.filter { $0.isNeeded && !$0.isThere }
    guard missing.isEmpty else {
      throw SluiceError(
        .toolchain, "Something needed is missing: \(missing.map(\.what).joined(separator: ", ")).")
    }
  }

  private func examine() async -> [Finding] {
    let host = Host.detect()
    var findings = [
      Finding(what: "processor", found: host.description, isNeeded: true, isThere: true),
      Finding(
        what: "best target", found: host.bestTarget.name, isNeeded: true, isThere: true),
    ]
    var toolchain: Toolchain?
    do {
      let found = try await Toolchain.find(clang: tools.clang)
      toolchain = found
      findings.append(
        Finding(what: "clang", found: found.version.line, isNeeded: true, isThere: true))
    } catch {
      findings.append(
        Finding(what: "clang", found: "\(error)", isNeeded: true, isThere: false))
    }
    let runtime = try? await toolchain?.openMPRuntime()
    findings.append(
      Finding(
        what: "OpenMP", found: runtime ?? "no libomp", isNeeded: true, isThere: runtime != nil,
        remedy: runtime == nil ? "apt-get install libomp-22-dev" : nil))
    findings.append(cache())
    findings.append(
      await program(
        "qemu-aarch64", for: "running NEON kernels here", remedy: "apt-get install qemu-user"))
    findings.append(
      await program(
        "aarch64-linux-gnu-gcc", for: "linking NEON kernels here",
        remedy: "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross"))
    findings.append(
      await program(
        "python3", for: "the packages' Python modules", remedy: "apt-get install python3"))
    return findings
  }

  private func cache() -> Finding {
    let folder = KernelCache().folder
    do {
      try Files.makeFolder(folder)
      let probe = try Files.makeUniqueFolder(in: folder, prefix: ".doctor-")
      Files.remove(probe)
      return Finding(what: "kernel cache", found: folder, isNeeded: true, isThere: true)
    } catch {
      return Finding(
        what: "kernel cache", found: "\(folder) cannot be written", isNeeded: false,
        isThere: false, remedy: "set SLUICE_CACHE to a folder that can")
    }
  }

  private func program(_ name: String, for purpose: String, remedy: String) async -> Finding {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
    let path = folders.map { "\($0)/\(name)" }.first { Files.isRegular($0) }
    return Finding(
      what: name, found: path.map { "\($0), for \(purpose)" } ?? "not found, for \(purpose)",
      isNeeded: false, isThere: path != nil, remedy: path == nil ? remedy : nil)
  }
}
