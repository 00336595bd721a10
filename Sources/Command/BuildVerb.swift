import ArgumentParser
import Emission
import Execution

struct BuildVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "build",
    abstract: "Builds a kernel into a package: library, header, source, manifest, Python module.")

  @OptionGroup var kernel: KernelOptions
  @OptionGroup var tools: ToolOptions
  @OptionGroup var output: OutputOptions
  @Option(
    name: [.customShort("o"), .customLong("output")],
    help: "The package's folder (default: the kernel's name).")
  var folder: String?

  func run() async throws {
    let built = try await kernel.request.build(tools)
    let package = try await KernelPackage.write(
      kernel: built.kernel, library: built.library,
      to: folder ?? built.kernel.name.description, toolchain: built.builder.toolchain)
    if output.json {
      try printJSON(package.manifest)
      return
    }
    print("\(package.folder)")
    for name in Files.names(in: package.folder).sorted() { print("  \(name)") }
  }
}
