import Execution

/// One call of an entry, as the runner's CASES file has it: a struct and the buffers it points to.
struct RunnerCase: Hashable, Sendable {
  var id: UInt32
  var entry: String
  /// The argument struct; the runner writes the buffers' addresses into it.
  var arguments: [UInt8]
  var buffers: [Buffer]

  struct Buffer: Hashable, Sendable {
    enum Kind: UInt32, Sendable {
      case input, output, workspace, inOut
      /// Zeros, but for the contents at its end.
      case sparse
      /// The contents again and again.
      case repeated
      /// A workspace whose size the kernel says.
      case asked
      /// An output that is held to the contents, which the format documents.
      case checked
      /// What an output of the case before was left as; the contents are that buffer's number.
      case handed
    }

    var name: String
    var kind: Kind
    var size: Int
    /// Bytes beyond a 64-byte boundary, 0...63.
    var alignment = 0
    /// Where in the argument struct the address goes.
    var offset: Int
    /// Of inputs.
    var contents: [UInt8] = []

    /// The alignment that puts the buffer's end flush against the guard page.
    var flush: Int { (64 - size % 64) % 64 }
  }
}

/// Writes the runner's CASES file; `templates/c/cases.h` documents the format.
enum CaseFile {
  static func bytes(_ cases: [RunnerCase]) -> [UInt8] {
    var out = ByteWriter()
    out.bytes += Array("SLCASES1".utf8)
    out.put(UInt32(cases.count))
    for item in cases {
      out.put(item.id)
      out.put(UInt32(item.entry.utf8.count))
      out.bytes += Array(item.entry.utf8)
      out.put(UInt32(item.arguments.count))
      out.bytes += item.arguments
      out.put(UInt32(item.buffers.count))
      for buffer in item.buffers {
        out.put(UInt64(buffer.size))
        out.put(buffer.kind.rawValue)
        out.put(UInt32(buffer.alignment))
        out.put(UInt32(buffer.offset))
        if buffer.kind == .sparse || buffer.kind == .repeated {
          out.put(UInt64(buffer.contents.count))
        }
        out.bytes += buffer.contents
      }
    }
    return out.bytes
  }
}

/// Little-endian numbers one after the other.
struct ByteWriter {
  var bytes: [UInt8] = []

  mutating func put<T: FixedWidthInteger>(_ value: T) {
    withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
  }
  mutating func put(_ value: Float) { put(value.bitPattern) }
  mutating func put(_ value: Double) { put(value.bitPattern) }

  static func bytes<T: FixedWidthInteger>(_ values: [T]) -> [UInt8] {
    var writer = ByteWriter()
    values.forEach { writer.put($0) }
    return writer.bytes
  }
}
