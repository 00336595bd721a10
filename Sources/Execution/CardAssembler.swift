import Emission
import Glibc
import Targets

/// ptxas, which makes a card's machine code of PTX where it is at hand: the library then carries both,
/// and the driver has nothing to compile at the first call. Without it libraries carry PTX alone.
public struct CardAssembler: Hashable, Codable, Sendable {
  public var path: String
  /// As `ptxas --version` has it: `release 13.0, V13.0.88`.
  public var version: String

  public init(path: String, version: String) {
    self.path = path
    self.version = version
  }

  /// Finds ptxas: `ptxas` if given, else on the search path, else where a toolkit or, in a Python
  /// environment, NVIDIA's wheels lie. Nil where there is none, or `ptxas` is `none`.
  ///
  /// - Throws: a sentence of kind `.toolchain` if the one that was given does not answer as ptxas.
  public static func find(
    ptxas: String? = nil, environment: [String: String] = Self.environment
  ) async throws -> CardAssembler? {
    guard ptxas != "none" else { return nil }
    let folders = ptxas == nil ? places(environment) : searchPath(environment)
    let named = ptxas.map { $0.contains("/") ? [$0] : folders.map { "\($0)/\(ptxas!)" } }
    for path in named ?? folders.map({ "\($0)/ptxas" })
    where Files.isRegular(path) && access(path, X_OK) == 0 {
      if let found = try await probe(path) { return found }
    }
    guard let ptxas else { return nil }
    throw SluiceError(
      .toolchain,
      "There is no ptxas at \(ptxas), or it does not answer as ptxas does. Give --ptxas the path of "
        + "one, or none to do without.")
  }

  public static var environment: [String: String] {
    ["PATH", "CUDA_HOME", "VIRTUAL_ENV"].reduce(into: [:]) { found, name in
      found[name] = getenv(name).map { String(cString: $0) }
    }
  }

  private static func searchPath(_ environment: [String: String]) -> [String] {
    (environment["PATH"] ?? "").split(separator: ":").map(String.init)
  }

  private static func places(_ environment: [String: String]) -> [String] {
    var folders = searchPath(environment)
    if let toolkit = environment["CUDA_HOME"] { folders.append("\(toolkit)/bin") }
    folders.append("/usr/local/cuda/bin")
    guard let libraries = environment["VIRTUAL_ENV"].map({ "\($0)/lib" }) else { return folders }
    for python in Files.names(in: libraries).sorted() {
      let wheels = "\(libraries)/\(python)/site-packages/nvidia"
      folders += Files.names(in: wheels).sorted(by: >).map { "\(wheels)/\($0)/bin" }
    }
    return folders
  }

  private static func probe(_ path: String) async throws -> CardAssembler? {
    let outcome = try await Program(path, ["--version"]).run(limit: .seconds(30))
    guard outcome.succeeded, outcome.output.contains("Ptx optimizing assembler"),
      let start = outcome.output.firstRange(of: "release ")?.lowerBound
    else { return nil }
    return CardAssembler(
      path: path, version: String(outcome.output[start...].prefix { $0 != "\n" }))
  }

  /// What ptxas said of the kernels for the first of a target's architectures, beside the machine codes.
  static let report = "kernel.ptxas.txt"

  /// Whether all cores can share its work, which halves a gradient's seconds on two and changes no
  /// instruction (the sections of code compared). Releases of 12 do not know the option.
  private var canSplit: Bool {
    (Int(version.drop { !$0.isNumber }.prefix { $0.isNumber }) ?? 0) >= 13
  }

  /// Makes machine code for each of a card's architectures, side by side, beside the PTX in a folder.
  func assemble(for device: Device, in folder: String, limit: Duration) async throws {
    try await withThrowingTaskGroup { group in
      for architecture in device.architectures {
        group.addTask {
          let said = try await assemble(for: architecture, in: folder, limit: limit)
          guard architecture == device.architectures.first else { return }
          try Files.write(said, to: "\(folder)/\(Self.report)")
        }
      }
      try await group.waitForAll()
    }
  }

  private func assemble(
    for architecture: Device.Architecture, in folder: String, limit: Duration
  ) async throws -> String {
    let product = architecture.fileName
    let program = Program(
      path,
      ["-arch", architecture.name, "-v", BuildJob.Output.ptx.fileName, "-o", product]
        + (canSplit ? ["-split-compile", "0"] : []),
      folder: folder, environment: ["LC_ALL": "C", "TMPDIR": "."])
    let outcome = try await program.run(limit: limit)
    guard outcome.succeeded, Files.isRegular("\(folder)/\(product)") else {
      throw SluiceError(
        .toolchain, "ptxas (\(version)) \(outcome.description); --ptxas none does without it.",
        details: Builder.firstErrors(outcome.errors) + ["command: \(program.commandLine)"])
    }
    return outcome.output + outcome.errors
  }
}

extension KernelManifest.CardKernel {
  /// What `ptxas -v` says of each kernel, in its order.
  package static func parse(_ text: String) -> [Self] {
    var found: [Self] = []
    func number(before unit: String, in line: Substring) -> Int? {
      guard let end = line.firstRange(of: " \(unit)")?.lowerBound else { return nil }
      return Int(
        line[..<end].reversed().prefix { $0.isNumber }.reversed().map(String.init).joined())
    }
    // Said apart from what is said of each kernel.
    var serialized: Set<Substring> = []
    for line in text.split(separator: "\n") {
      if line.contains("instructions are serialized"),
        let start = line.firstRange(of: "function '")?.upperBound
      {
        serialized.insert(line[start...].prefix { $0 != "'" })
      }
      if line.contains("Compiling entry function"), let start = line.firstIndex(of: "'") {
        let name = line[line.index(after: start)...].prefix { $0 != "'" }
        found.append(Self(name: String(name)))
      } else if let last = found.indices.last {
        if let registers = number(before: "registers", in: line) {
          found[last].registers = registers
        }
        if let stack = number(before: "bytes stack frame", in: line) { found[last].stack = stack }
        if let stores = number(before: "bytes spill stores", in: line),
          let loads = number(before: "bytes spill loads", in: line)
        {
          found[last].spilled = max(stores, loads)
        }
      }
    }
    for index in found.indices where serialized.contains(found[index].name[...]) {
      found[index].serialized = true
    }
    return found
  }
}
