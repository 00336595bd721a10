import Execution
import Sluice
import Testing

extension Scene {
  /// The command refuses: its exit code, a sentence, nothing on standard output, nothing written.
  ///
  /// - Returns: standard error, for what else must be in it.
  @discardableResult
  func refusal(
    _ arguments: [String], _ kind: SluiceError.Kind, saying phrase: String,
    environment: [String: String?] = [:], beside other: String? = nil,
    at location: SourceLocation = #_sourceLocation
  ) async throws -> String {
    let before = listing(folder) + (other.map(listing) ?? [])
    let outcome = try await sluice(arguments, environment: environment)
    let after = listing(folder) + (other.map(listing) ?? [])
    let said = outcome.errors
    #expect(
      outcome.ending == .exited(kind.rawValue), "\(arguments): \(outcome.description) \(said)",
      sourceLocation: location)
    #expect(outcome.output.isEmpty, "\(arguments)", sourceLocation: location)
    #expect(said.contains(phrase), "\(arguments): \(said)", sourceLocation: location)
    #expect(before == after, "\(arguments) leaves something", sourceLocation: location)
    // A line about progress may stand before the sentence.
    let sentence = said.split(separator: "\n").first { line in
      line.hasPrefix("sluice: ") || line.hasPrefix("Error: ")
    }
    #expect(sentence != nil, "\(arguments): \(said)", sourceLocation: location)
    #expect(!said.contains("Fatal error"), "\(arguments)", sourceLocation: location)
    return said
  }

  /// Every path below a folder with the digest of what is there.
  private func listing(_ folder: String) -> [String] {
    Files.names(in: folder).flatMap { name in
      let path = "\(folder)/\(name)"
      if Files.isFolder(path) { return [path] + listing(path) }
      return ["\(path) \((try? ContentDigest.sha256(ofFile: path)) ?? "")"]
    }
  }
}
