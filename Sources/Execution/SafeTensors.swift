import Emission
import Glibc
import Targets

/// Reads and writes files of tensors in the safetensors format.
///
///     8 bytes    the header's size, least significant byte first
///     header     JSON: name -> dtype, shape, data_offsets; padded with spaces
///     data       the tensors, without a gap
public enum SafeTensors {
  /// A header above this is no header; the format's own limit.
  static let largestHeader = 100_000_000

  /// All tensors of a file by name.
  ///
  /// - Throws: a sentence that names the file, and the tensor where there is one, when the file lies
  ///   about its shapes, types, offsets or size.
  public static func read(_ path: String) throws(SluiceError) -> [String: SafeTensor] {
    guard Files.isRegular(path) || access(path, F_OK) != 0 else {
      throw SluiceError(.badInput, "\(path) is no file.")
    }
    let file = try InputFile(path)
    guard file.size >= 8 else { throw short(path, "it has \(file.size) bytes") }
    let prefix = try file.bytes(0..<8)
    let claimed = prefix.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    guard claimed <= UInt64(largestHeader) else {
      throw short(path, "it claims a header of \(claimed) bytes, above the limit of 100 MB")
    }
    let start = 8 + Int(claimed)
    guard start <= file.size else {
      throw short(path, "it claims a header of \(claimed) bytes, and has \(file.size - 8)")
    }
    let header = try SafeTensorsHeader(
      try file.bytes(8..<start), dataSize: file.size - start, path: path)
    var tensors: [String: SafeTensor] = [:]
    for (name, entry) in header.entries {
      let range = start + entry.range.lowerBound..<start + entry.range.upperBound
      tensors[name] = SafeTensor(
        type: entry.type, shape: entry.shape, bytes: try file.bytes(range))
    }
    return tensors
  }

  /// Writes a file: aside first, then renamed into place, so that it is whole or as it was.
  public static func write(
    _ tensors: [String: SafeTensor], to path: String
  ) throws(SluiceError) {
    // The largest elements first: so every tensor is aligned to its own.
    let sorted = tensors.sorted { ($1.value.type.size, $0.key) < ($0.value.type.size, $1.key) }
    var table: [String: Entry] = [:]
    var end = 0
    for (name, tensor) in sorted {
      guard name != "__metadata__",
        SafeTensor.byteCount(tensor.shape, tensor.type) == tensor.bytes.count
      else {
        throw SluiceError(
          .internal, "The tensor '\(name)' cannot be written: its name or its size is wrong.")
      }
      table[name] = Entry(
        dtype: tensor.type.rawValue, shape: tensor.shape,
        data_offsets: [end, end + tensor.bytes.count])
      end += tensor.bytes.count
    }
    var header = Array(try Emitter.json(table).utf8)
    while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
    guard header.count <= largestHeader else {
      throw SluiceError(.badInput, "Too many tensors for one file: the header exceeds 100 MB.")
    }
    let prefix = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) }
    try asSentence {
      guard Files.isRegular(path) || access(path, F_OK) != 0 else {
        throw SluiceError(.cannotCreate, "\(path) exists and is no file; name another output.")
      }
      let parent = Files.parent(of: path)
      let aside = try Files.makeUniqueFolder(in: parent, prefix: ".writing-")
      defer { Files.remove(aside) }
      try Files.write([prefix, header] + sorted.map(\.value.bytes), to: "\(aside)/tensors")
      try Files.rename("\(aside)/tensors", to: path)
    }
  }

  private struct Entry: Encodable {
    var dtype: String
    var shape: [Int]
    var data_offsets: [Int]
  }

  private static func short(_ path: String, _ why: String) -> SluiceError {
    SluiceError(.badInput, "\(path) is no safetensors file: \(why).")
  }
}
