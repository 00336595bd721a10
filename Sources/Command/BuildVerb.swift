import ArgumentParser
import Emission
import Execution

struct BuildVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "build",
    abstract: "Builds a kernel into a package: library, header, source, manifest, Python module.")

  @OptionGroup var kernel: KernelOptions
  @OptionGroup var gradient: GradientOptions
  @OptionGroup var single: StepOptions
  @OptionGroup var tools: ToolOptions
  @OptionGroup var format: FormatOptions
  @Option(name: .shortAndLong, help: "The package's folder (default: the kernel's name).")
  var output: String?

  func run() async throws {
    let (specification, kernel, origin) = try KernelRequest(
      recurrence: self.kernel.recurrence, choices: self.kernel.choices,
      gradient: gradient, hasStep: single.step ?? true
    ).emit(Host.detect())
    let builder = try await tools.builder()
    let (package, notice) = try await withProgress("building \(kernel.name)") {
      try await KernelPackage.build(
        kernel: kernel, for: specification.target, to: output ?? kernel.name.description,
        builder: builder)
    }
    if let notice { progress(notice) }
    progress("plan: \(origin)")
    if format.json {
      try printJSON(package.manifest)
      return
    }
    print(package.folder)
    print(
      table(
        try Files.names(in: package.folder).map { name in
          ["  \(name)", "\(try Files.size("\(package.folder)/\(name)")) bytes"]
        }))
    if let kernels = package.manifest.cardKernels { describe(kernels) }
  }

  /// What ptxas made of a card's kernels; those whose registers do not suffice are named.
  private func describe(_ kernels: [KernelManifest.CardKernel]) {
    print(
      table(
        [["  KERNEL", "REGISTERS", "SHARED MEMORY", "STACK", "SPILLED"]]
          + kernels.map {
            [
              "  \($0.name)", "\($0.registers)", "\($0.sharedMemory)", "\($0.stack)",
              "\($0.spilled)",
            ]
          }))
    for kernel in kernels where kernel.spilled > 0 {
      progress(
        "\(kernel.name) keeps \(kernel.spilled) bytes of a thread's registers in memory, which costs "
          + "time.")
    }
  }
}
