import ArgumentParser
import Emission
import Execution
import Recurrences
import Targets

struct GenerateVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate",
    abstract: "Prints a kernel's source, or any stage on the way to it.")

  enum Stage: String, ExpressibleByArgument, CaseIterable {
    case normalForm = "normal-form"
    case plan, tile, source, header, manifest, asm
  }

  @OptionGroup var kernel: KernelOptions
  @OptionGroup var tools: ToolOptions
  @Option(help: "normal-form, plan, tile, source, header, manifest or asm.")
  var emit: Stage = .source
  @Option(name: [.customShort("o"), .long], help: "Write source and header into this folder.")
  var output: String?

  func run() async throws {
    let (specification, kernel) = try self.kernel.request.emit(Host.detect())
    if let output {
      for file in [kernel.source, kernel.header] {
        try Files.makeFolder(output)
        try Files.write(file.text, to: "\(output)/\(file.name)")
        print("\(output)/\(file.name)")
      }
      return
    }
    switch emit {
    case .normalForm: print(specification.normalForm)
    case .plan: print(kernel.name.plan)
    case .tile: print(kernel.program, terminator: "")
    case .source: print(kernel.source.text, terminator: "")
    case .header: print(kernel.header.text, terminator: "")
    case .manifest: try printJSON(kernel.manifest)
    case .asm:
      let builder = try await tools.builder()
      let job = builder.job(kernel.source, for: specification.target, output: .assembly)
      let entry = try await KernelCache().entry(
        for: job, description: kernel.name.description, builder: builder)
      print(String(decoding: try Files.read(entry.product), as: UTF8.self), terminator: "")
    }
  }
}
