import Foundation
import PackagePlugin

/// Compiles the texts in a target's folder into it, as string literals: SwiftPM's own `embedInCode`
/// writes an array of bytes, on which the compiler spends minutes and a gigabyte.
@main
struct EmbedTexts: BuildToolPlugin {
  func createBuildCommands(context: PluginContext, target: Target) throws -> [Command] {
    let folders = ["c", "cuda", "python"].map { target.directoryURL.appending(path: $0) }
    let texts = try folders.flatMap {
      try FileManager.default.contentsOfDirectory(at: $0, includingPropertiesForKeys: nil)
    }.sorted { $0.path < $1.path }
    let output = context.pluginWorkDirectoryURL.appending(path: "Texts.swift")
    return [
      .buildCommand(
        displayName: "Embedding \(texts.count) templates",
        executable: try context.tool(named: "TextEmbedder").url,
        arguments: [output.path] + texts.map(\.path), inputFiles: texts, outputFiles: [output])
    ]
  }
}
