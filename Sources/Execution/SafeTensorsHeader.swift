import Targets

/// The table at the head of a safetensors file, checked against the file's size.
struct SafeTensorsHeader {
  struct Entry {
    var type: SafeTensor.ElementKind
    var shape: [Int]
    /// Where its bytes lie, counted from the end of the header.
    var range: Range<Int>
  }
  var entries: [String: Entry] = [:]

  /// Reads the table.
  ///
  /// Every byte after the header must belong to exactly one tensor: what overlaps or lies between
  /// tensors is a file that lies.
  init(_ text: [UInt8], dataSize: Int, path: String) throws(SluiceError) {
    let members: [JSONText.Member]
    do {
      var reader = JSONText(text)
      members = try reader.document()
    } catch {
      throw SluiceError(
        .badInput, "\(path) is no safetensors file: its header is damaged, \(error).")
    }
    for member in members where member.name != "__metadata__" {
      entries[member.name] = try Self.entry(member, dataSize, path)
    }
    let sorted = entries.sorted {
      ($0.value.range.lowerBound, $0.value.range.upperBound, $0.key)
        < ($1.value.range.lowerBound, $1.value.range.upperBound, $1.key)
    }
    var end = 0
    var last = ""
    for (name, entry) in sorted {
      if entry.range.lowerBound < end {
        throw Self.lie(path, name, "overlaps with the tensor '\(last)'")
      }
      if entry.range.lowerBound > end {
        throw Self.lie(
          path, name,
          "begins at \(entry.range.lowerBound), and nothing accounts for the bytes from \(end) on")
      }
      end = entry.range.upperBound
      last = name
    }
    guard end == dataSize else {
      throw SluiceError(
        .badInput, "\(path) has \(dataSize - end) bytes after its last tensor that belong to none.")
    }
  }

  private static func entry(
    _ member: JSONText.Member, _ dataSize: Int, _ path: String
  ) throws(SluiceError) -> Entry {
    let name = member.name
    guard case .object(let fields) = member.value else {
      throw lie(path, name, "is described by something that is no object")
    }
    var type: SafeTensor.ElementKind?
    var shape: [Int]?
    var offsets: [Int]?
    for field in fields {
      switch (field.name, field.value) {
      case ("dtype", .text(let spelled)):
        guard let known = SafeTensor.ElementKind(rawValue: spelled) else {
          throw lie(path, name, "has the unknown element type '\(spelled)'")
        }
        type = known
      case ("shape", .array(let sizes)): shape = try numbers(sizes, "shape", path, name)
      case ("data_offsets", .array(let ends)):
        offsets = try numbers(ends, "data_offsets", path, name)
      case ("dtype", _), ("shape", _), ("data_offsets", _):
        throw lie(path, name, "has a '\(field.name)' of the wrong kind")
      default: throw lie(path, name, "has the unknown field '\(field.name)'")
      }
    }
    guard let type, let shape, let offsets else {
      throw lie(path, name, "lacks its dtype, its shape or its data_offsets")
    }
    guard let size = SafeTensor.byteCount(shape, type) else {
      throw lie(path, name, "has a shape too large to be true, \(shape)")
    }
    guard offsets.count == 2, offsets[0] <= offsets[1] else {
      throw lie(path, name, "has data_offsets that are no range, \(offsets)")
    }
    guard offsets[1] <= dataSize else {
      throw lie(
        path, name,
        "ends at byte \(offsets[1]) of the data, and the file has \(dataSize): it was cut short, "
          + "or the header is wrong")
    }
    guard offsets[1] - offsets[0] == size else {
      throw lie(
        path, name,
        "has \(offsets[1] - offsets[0]) bytes, and \(type.rawValue) of shape \(shape) needs \(size)"
      )
    }
    return Entry(type: type, shape: shape, range: offsets[0]..<offsets[1])
  }

  private static func numbers(
    _ values: [JSONText.Value], _ field: String, _ path: String, _ name: String
  ) throws(SluiceError) -> [Int] {
    var numbers: [Int] = []
    for value in values {
      // A size with a sign or a fraction, or too large for an integer, is no size.
      guard case .number(let text) = value, let number = Int(text), text.first != "-" else {
        throw lie(path, name, "has a '\(field)' with something other than sizes in it")
      }
      numbers.append(number)
    }
    return numbers
  }

  private static func lie(_ path: String, _ name: String, _ what: String) -> SluiceError {
    SluiceError(.badInput, "The tensor '\(name)' of \(path) \(what).")
  }
}
