import ArgumentParser
import Emission
import Execution
import Targets

struct GenerateVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate",
    abstract: "Prints a kernel's source, or any stage on the way to it.")

  enum Stage: String, ExpressibleByArgument, CaseIterable {
    case normalForm = "normal-form"
    case plan, tile, source, header, asm, ptx, manifest
  }

  @OptionGroup var kernel: KernelOptions
  @OptionGroup var gradient: GradientOptions
  @OptionGroup var single: StepOptions
  @OptionGroup var tools: ToolOptions
  @Option(help: "The stage to print; source if none is named.")
  var emit: Stage?
  @Option(
    name: .shortAndLong,
    help: "Write source and header, or what --emit names, into this folder instead.")
  var output: String?

  func run() async throws {
    let (specification, kernel, _) = try KernelRequest(
      recurrence: self.kernel.recurrence, choices: self.kernel.choices,
      gradient: gradient, hasStep: single.step ?? false
    ).emit(Host.detect())
    if output == "" { throw SluiceError(.usage, "--output needs a folder's name.") }
    guard let output else {
      print(
        try await file(emit ?? .source, kernel, specification.target).text, terminator: "")
      return
    }
    var files = [kernel.source, kernel.header]
    if let emit { files = [try await file(emit, kernel, specification.target)] }
    try Files.install(files.map { ($0.name, $0.text) }, in: output)
    for file in files { print("\(output)/\(file.name)") }
  }

  private func file(
    _ stage: Stage, _ kernel: EmittedKernel, _ target: Target
  ) async throws -> SourceFile {
    func file(_ suffix: String, _ text: String) -> SourceFile {
      SourceFile(name: "\(kernel.name).\(suffix)", text: text)
    }
    switch stage {
    case .normalForm:
      return file("normal-form.txt", "\(try kernel.manifest.recurrence.normalForm())\n")
    case .plan: return file("plan.txt", "\(kernel.name.plan)\n")
    case .tile: return file("tile.txt", "\(kernel.program)")
    case .source: return kernel.source
    case .header: return kernel.header
    case .manifest: return file("json", try Emitter.json(kernel.manifest, pretty: true) + "\n")
    case .ptx:
      guard target.device != nil else {
        throw SluiceError(
          .usage, "\(target.name) is a processor: --emit ptx goes with sm_80 and sm_90a.")
      }
      let entry = try await build(
        kernel, for: target, with: try await tools.builder(), output: .ptx)
      return file("ptx", String(decoding: try Files.read(entry.product), as: UTF8.self))
    case .asm:
      let entry = try await build(
        kernel, for: target, with: try await tools.builder(), output: .assembly)
      return file("s", String(decoding: try Files.read(entry.product), as: UTF8.self))
    }
  }
}
