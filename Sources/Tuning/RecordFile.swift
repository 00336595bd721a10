import Emission
import Execution
import Foundation
import Targets

/// Records as a JSON file, to be shared and checked in: `sluice records export` and `import`.
public struct RecordFile: Codable, Sendable {
  public static let currentFormat = "sluice-records-1"

  public var format = currentFormat
  /// ``EmitterVersion``: records of another one are about other kernels.
  public var version = EmitterVersion.current
  public var records: [TuningRecord]

  /// A file's content, in the one order that records have in files.
  public init(_ records: [TuningRecord]) {
    self.records = records.sorted(by: TuningRecord.precedes)
  }

  /// The file's text: equal records give equal bytes.
  public var text: String {
    get throws { try Emitter.json(self, pretty: true) + "\n" }
  }

  /// Reads a file and checks every field of every record.
  ///
  /// - Throws: `.badInput` for what is no such file, of another version, or cannot be.
  public static func read(_ path: String) throws(SluiceError) -> RecordFile {
    try RecordStore.inSentences(path) {
      let data = Data(try Files.read(path))
      struct Head: Decodable {
        var format: String
        var version: String
      }
      guard let head = try? JSONDecoder().decode(Head.self, from: data) else {
        throw SluiceError(
          .badInput, "\(path) is no file of records: 'sluice records export' makes one.")
      }
      guard head.format == currentFormat, head.version == EmitterVersion.current else {
        throw SluiceError(
          .badInput,
          "\(path) is of another version of Sluice (\(head.format), \(head.version); this is "
            + "\(currentFormat), \(EmitterVersion.current)): its kernels are others. Measure anew.")
      }
      let file: RecordFile
      do {
        file = try JSONDecoder().decode(RecordFile.self, from: data)
      } catch {
        throw SluiceError(
          .badInput, "\(path) is damaged: \(describeDecoding(error))")
      }
      for (index, record) in file.records.enumerated() {
        if let problem = record.problem {
          throw SluiceError(
            .badInput, "\(path) is damaged: of record \(index + 1), \(problem).")
        }
      }
      return file
    }
  }
}

/// A decoder's complaint as a sentence with the field in it.
func describeDecoding(_ error: any Error) -> String {
  func path(_ context: DecodingError.Context) -> String {
    context.codingPath.map { $0.intValue.map { "[\($0 + 1)]" } ?? $0.stringValue }
      .joined(separator: ".")
  }
  return switch error as? DecodingError {
  case .keyNotFound(let key, let context):
    "the field \(([path(context)] + [key.stringValue]).filter { !$0.isEmpty }.joined(separator: ".")) is missing."
  case .typeMismatch(_, let context), .valueNotFound(_, let context):
    "the field \(path(context)) has another type."
  case .dataCorrupted(let context) where context.codingPath.isEmpty: "it is no JSON."
  case .dataCorrupted(let context): "the field \(path(context)) has an unknown value."
  default: "\(error)."
  }
}
