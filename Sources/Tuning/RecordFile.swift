import Emission
import Execution
import Foundation
import Targets

/// Records as a JSON file, to be shared and checked in: `sluice records export` and `import`.
public struct RecordFile: Codable, Sendable {
  public static let currentFormat = "sluice-records-2"

  public var format = currentFormat
  public var records: [TuningRecord]

  /// Those that are about kernels as they are emitted now (``EmitterVersion``).
  public var ofThisVersion: [TuningRecord] { records.filter(\.key.isOfThisVersion) }

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
  /// - Throws: `.badInput` for what is no such file, has records of other versions alone, or cannot be.
  public static func read(_ path: String) throws(SluiceError) -> RecordFile {
    try RecordStore.inSentences(path) {
      let data = Data(try Files.read(path))
      struct Head: Decodable {
        var format: String
      }
      guard let head = try? JSONDecoder().decode(Head.self, from: data) else {
        throw SluiceError(
          .badInput, "\(path) is no file of records: 'sluice records export' makes one.")
      }
      guard head.format == currentFormat else {
        throw SluiceError(
          .badInput,
          "\(path) is of another version of Sluice (\(head.format); this is \(currentFormat)): its kernels "
            + "are others. Measure anew.")
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
      guard file.records.isEmpty || file.records.contains(where: \.key.isOfThisVersion) else {
        throw SluiceError(
          .badInput,
          "\(path) is of another version of Sluice: all of its \(file.records.count) records are about other "
            + "kernels. Measure anew.")
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
