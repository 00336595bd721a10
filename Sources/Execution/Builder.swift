import Emission
import Targets

/// Runs build jobs: one compiler, a scratch folder for each job, and only whole products in place.
public struct Builder: Sendable {
  public var toolchain: Toolchain
  /// What makes machine code for cards, if there is such a tool.
  public var assembler: CardAssembler?
  /// The longest that one compilation may take.
  public var limit: Duration

  /// A builder with that compiler.
  public init(
    toolchain: Toolchain, assembler: CardAssembler? = nil, limit: Duration = .seconds(600)
  ) {
    self.toolchain = toolchain
    self.assembler = assembler
    self.limit = limit
  }

  /// A job for this builder's compiler.
  public func job(
    _ source: SourceFile, for target: Target, output: BuildJob.Output = .library,
    openMP: Bool = true, sanitizers: Set<BuildJob.Sanitizer> = []
  ) -> BuildJob {
    BuildJob(
      source: source, target: target, compiler: toolchain.version, sanitizers: sanitizers,
      openMP: openMP, output: output,
      assembler: target.device != nil && output == .library ? assembler : nil)
  }

  /// Builds the job's product at `path`: aside first, then renamed into place, so that it is whole or absent.
  public func build(_ job: BuildJob, to path: String) async throws {
    let parent = Files.parent(of: path)
    try Files.makeFolder(parent)
    let scratch = try Files.makeUniqueFolder(in: parent, prefix: ".building-")
    defer { Files.remove(scratch) }
    let product = try await compile(job, in: scratch)
    try Files.rename(product, to: path)
  }

  /// Writes the source into an empty folder, compiles it there and returns the product's path.
  func compile(_ job: BuildJob, in folder: String) async throws -> String {
    if let preceding = job.preceding {
      _ = try await compile(preceding, in: folder)
      if let device = job.target.device {
        try await job.assembler?.assemble(for: device, in: folder, limit: limit)
      }
    }
    if let product = try await compileParts(of: job, in: folder) { return product }
    return try await compileWhole(job, in: folder)
  }

  /// A card's source part by part, side by side; nil where it is one, or its parts do not stand alone.
  private func compileParts(of job: BuildJob, in folder: String) async throws -> String? {
    guard job.output == .ptx else { return nil }
    let sources = CardParts.split(job.source.text)
    guard sources.count > 1 else { return nil }
    let parts = try? await withThrowingTaskGroup { group in
      for (number, text) in sources.enumerated() {
        group.addTask {
          var part = job
          part.source.text = text
          let own = "\(folder)/part\(number)"
          try Files.makeFolder(own)
          defer { Files.remove(own) }
          return (number, try Files.read(try await compileWhole(part, in: own)))
        }
      }
      var found = [[UInt8]](repeating: [], count: sources.count)
      for try await (number, ptx) in group { found[number] = ptx }
      return found
    }
    try Task.checkCancellation()
    // Where a part fails the whole says why, by its own lines.
    guard let parts, let whole = CardParts.join(parts) else { return nil }
    try Files.write(job.source.text, to: "\(folder)/\(job.source.name)")
    let product = "\(folder)/\(job.output.fileName)"
    try Files.write(whole, to: product)
    return product
  }

  private func compileWhole(_ job: BuildJob, in folder: String) async throws -> String {
    try Files.write(job.source.text, to: "\(folder)/\(job.source.name)")
    // Messages in English, and no dates, whatever the user's environment says; clang's own
    // temporary files lie in the folder too, and go with it when a build is interrupted.
    let program = Program(
      toolchain.path, job.arguments, folder: folder,
      environment: ["LC_ALL": "C", "SOURCE_DATE_EPOCH": "0", "TMPDIR": "."])
    let outcome = try await program.run(limit: limit)
    let product = "\(folder)/\(job.output.fileName)"
    guard outcome.succeeded, Files.isRegular(product) else {
      throw Self.failure(program, outcome, job)
    }
    return product
  }

  /// The sentence for a compilation that failed, with clang's first errors and the command below it.
  package static func failure(
    _ program: Program, _ outcome: Program.Outcome, _ job: BuildJob
  ) -> SluiceError {
    let errors = firstErrors(outcome.errors)
    let details = errors + ["command: \(program.commandLine)"]
    let text = outcome.errors
    if text.contains("No space left on device") {
      return SluiceError(
        .cannotCreate, "The disk is full; free some room, or set SLUICE_CACHE to another folder.",
        details: details)
    }
    if text.contains("'omp.h' file not found") || text.contains("-lomp") {
      return SluiceError(
        .toolchain,
        "clang \(job.compiler) has no OpenMP runtime. Install it (apt-get install libomp-\(job.compiler.major)-dev).",
        details: details)
    }
    if text.contains("libclang_rt") {
      return SluiceError(
        .toolchain,
        "clang \(job.compiler) has no sanitizers. Install them (apt-get install libclang-rt-\(job.compiler.major)-dev).",
        details: details)
    }
    if job.target.isCross, text.contains("linker") || text.contains("file not found") {
      return SluiceError(
        .toolchain,
        "The libraries to compile for \(job.target.name) are missing. "
          + "Install them (apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross).",
        details: details)
    }
    return SluiceError(
      .toolchain, "clang \(job.compiler) \(outcome.description) on \(job.source.name).",
      details: details)
  }

  /// The first few lines that say what is wrong; the first few of all where none says `error`.
  package static func firstErrors(_ text: String, limit: Int = 5) -> [String] {
    let lines = text.split(separator: "\n").map(String.init)
    let errors = lines.filter { $0.contains("error:") || $0.contains("undefined reference") }
    return Array((errors.isEmpty ? lines : errors).prefix(limit))
  }
}
