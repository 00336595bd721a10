import Emission
import Evaluation
import Execution
import Schedules
import Targets

/// A library to work on: just built, or opened from a package.
struct OpenedKernel {
  var manifest: KernelManifest
  var target: Target
  var library: String
}

extension SubjectOptions {
  /// The package's library, which needs no compiler, or a newly built one.
  func open(
    _ given: Builder? = nil, gradient: GradientOptions? = nil, hasStep: Bool = false
  ) async throws -> OpenedKernel {
    guard (recurrence == nil) != (package == nil) else {
      throw SluiceError(.usage, "Give one of: a recurrence, or --package DIR.")
    }
    if let folder = package ?? recurrence.flatMap(folder) { return try open(package: folder) }
    let (specification, kernel, _) = try KernelRequest(
      recurrence: recurrence ?? "", choices: choices, gradient: gradient, hasStep: hasStep
    ).emit(Host.detect())
    let builder = if let given { given } else { try await tools.builder() }
    let entry = try await build(kernel, for: specification.target, with: builder)
    return OpenedKernel(
      manifest: kernel.manifest, target: specification.target, library: entry.product)
  }

  private func open(package folder: String) throws -> OpenedKernel {
    let package = try KernelPackage.open(folder)
    let target = try Host.detect().target(named: package.manifest.target)
    return OpenedKernel(manifest: package.manifest, target: target, library: package.library)
  }

  /// The argument, if it is a folder and no recurrence.
  private func folder(_ argument: String) -> String? {
    let isKnown = Registry.recurrences.contains { $0.name == argument }
    return !isKnown && (argument.contains("/") || Files.isFolder(argument)) ? argument : nil
  }
}

extension ToolOptions {
  func builder() async throws -> Builder {
    Builder(
      toolchain: try await Toolchain.find(clang: clang),
      assembler: try await CardAssembler.find(ptxas: ptxas))
  }
}

/// Builds a kernel's product, through the cache.
func build(
  _ kernel: EmittedKernel, for target: Target, with builder: Builder,
  output: BuildJob.Output = .library
) async throws -> KernelCache.Entry {
  let description = try Emitter.json(kernel.manifest)
  let entry = try await withProgress("building \(kernel.name)") {
    try await KernelCache().entry(
      for: builder.job(kernel.source, for: target, output: output), description: description,
      builder: builder)
  }
  if let notice = entry.notice { progress(notice) }
  return entry
}

/// Refuses what neither this machine nor an emulator runs.
func checkRuns(_ kernel: OpenedKernel) throws {
  let host = Host.detect()
  guard kernel.target.device == nil else {
    let manifest = kernel.manifest
    throw SluiceError(
      .unsupported,
      "\(manifest.name) runs on a card, and this judges and times on a processor: "
        + "'sluice tune \(manifest.recurrence.name) --target \(kernel.target.name) "
        + "--dtype \(manifest.type.rawValue) --gate-dtype \(manifest.gateType.rawValue) "
        + "--key-dim \(manifest.key) --value-dim \(manifest.value) --bundle DIR' "
        + "makes a folder that does both on a machine with the card.")
  }
  guard host.runs(kernel.target) || kernel.target.isCross else {
    throw SluiceError(
      .unsupported,
      "\(kernel.manifest.name) is for \(kernel.target.name), and this machine "
        + "(\(host.cpuName)) has not its instructions.")
  }
}
