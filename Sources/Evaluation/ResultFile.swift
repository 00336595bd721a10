/// One record of the runner's RESULTS file.
enum RunnerRecord: Hashable, Sendable {
  case started(UInt32)
  case finished(Finished)
  case crashed(Crash)
  case refused(UInt32, String)
  case end

  struct Finished: Hashable, Sendable {
    var id: UInt32
    var code: Int32
    var flags: Flags
    /// The buffer that the flags speak of.
    var buffer: Int?
    /// Returned buffers by their number in the case.
    var contents: [Int: [UInt8]] = [:]
    var nanoseconds: [UInt64] = []
  }

  struct Crash: Hashable, Sendable {
    var id: UInt32
    var signal: Int32
    var buffer: Int?
    /// The touched address less the buffer's.
    var distance: Int64
  }

  struct Flags: OptionSet, Hashable, Sendable {
    let rawValue: UInt32
    static let before = Flags(rawValue: 1)
    static let after = Flags(rawValue: 2)
    static let unequal = Flags(rawValue: 4)
    static let mode = Flags(rawValue: 8)
    static let returned = Flags(rawValue: 16)
  }
}

/// Reads the runner's RESULTS file, of which a killed process may have written a part only.
enum ResultFile {
  /// The whole records; nil when the file is none of the runner's.
  static func records(_ bytes: [UInt8]) -> [RunnerRecord]? {
    guard bytes.starts(with: Array("SLRESUL1".utf8)) else { return nil }
    var reader = ByteReader(bytes: bytes, at: 8)
    var records: [RunnerRecord] = []
    while reader.at < bytes.count, let record = record(&reader) { records.append(record) }
    return records
  }

  private static func record(_ reader: inout ByteReader) -> RunnerRecord? {
    guard let tag: UInt32 = reader.take(), let id: UInt32 = reader.take() else { return nil }
    switch tag {
    case 1: return .started(id)
    case 2: return finished(id, &reader)
    case 3:
      guard let signal: Int32 = reader.take(), let _: UInt64 = reader.take(),
        let which: UInt32 = reader.take(), let distance: Int64 = reader.take()
      else { return nil }
      return .crashed(
        .init(id: id, signal: signal, buffer: which == .max ? nil : Int(which), distance: distance))
    case 4:
      guard let count: UInt32 = reader.take(), let text = reader.bytes(Int(count)) else {
        return nil
      }
      return .refused(id, String(decoding: text, as: UTF8.self))
    case 5: return .end
    default: return nil
    }
  }

  private static func finished(_ id: UInt32, _ reader: inout ByteReader) -> RunnerRecord? {
    guard let code: Int32 = reader.take(), let flags: UInt32 = reader.take(),
      let which: UInt32 = reader.take(), let count: UInt32 = reader.take()
    else { return nil }
    var record = RunnerRecord.Finished(
      id: id, code: code, flags: .init(rawValue: flags), buffer: which == .max ? nil : Int(which))
    for _ in 0..<count {
      guard let index: UInt32 = reader.take(), let size: UInt64 = reader.take(),
        let contents = reader.bytes(Int(size))
      else { return nil }
      record.contents[Int(index)] = contents
    }
    guard let timings: UInt32 = reader.take() else { return nil }
    for _ in 0..<timings {
      guard let time: UInt64 = reader.take() else { return nil }
      record.nanoseconds.append(time)
    }
    return .finished(record)
  }
}

/// Little-endian numbers out of bytes; nil past the end.
struct ByteReader {
  let bytes: [UInt8]
  var at: Int

  mutating func take<T: FixedWidthInteger>() -> T? {
    let size = MemoryLayout<T>.size
    guard bytes.count - at >= size else { return nil }
    defer { at += size }
    return bytes.withUnsafeBytes {
      T(littleEndian: $0.loadUnaligned(fromByteOffset: at, as: T.self))
    }
  }

  mutating func bytes(_ count: Int) -> [UInt8]? {
    guard count >= 0, bytes.count - at >= count else { return nil }
    defer { at += count }
    return Array(bytes[at..<at + count])
  }
}
