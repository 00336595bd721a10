import Emission
import Foundation

/// Columns for people, aligned; the first row is the head.
func table(_ rows: [[String]]) -> String {
  guard let head = rows.first else { return "" }
  let widths = head.indices.map { column in
    rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
  }
  return rows.map { row in
    let cells = row.enumerated().map { column, cell in
      column + 1 == row.count
        ? cell : cell + String(repeating: " ", count: widths[column] - cell.count)
    }
    return cells.joined(separator: "  ")
  }.joined(separator: "\n")
}

/// A value as JSON on standard output.
func printJSON(_ value: some Encodable) throws {
  print(try Emitter.json(value, pretty: true))
}

/// A line on standard error, beside the answer on standard output.
func progress(_ line: String) {
  FileHandle.standardError.write(Data("\(line)\n".utf8))
}

/// Does the work, and says so on standard error when it takes more than a second.
func withProgress<T: Sendable>(
  _ line: String, _ work: () async throws -> T
) async rethrows -> T {
  let notice = Task {
    do { try await Task.sleep(for: .seconds(1)) } catch { return }
    progress("\(line) ...")
  }
  defer { notice.cancel() }
  return try await work()
}

/// A number with so many places.
func rounded(_ number: Double, _ places: Int) -> String {
  String(format: "%.\(places)f", number)
}
