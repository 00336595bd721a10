import Targets

/// The few facts of an ELF file's header that say whether it may be loaded; reading them loads nothing.
struct ELFHeader {
  var architecture: Target.Architecture

  /// Reads the header of `bytes`; throws a sentence about `path` if it is foreign, damaged or cut short.
  ///
  /// The dynamic loader trusts a file's header, and a file cut short kills the process that loads it.
  init(_ bytes: [UInt8], path: String) throws {
    func number(_ offset: Int, _ size: Int) -> Int {
      (0..<size).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
    }
    guard bytes.count >= 64, Array(bytes[0..<4]) == [0x7f, 0x45, 0x4c, 0x46] else {
      throw SluiceError(.badInput, "\(path) is not a library: it has no ELF header.")
    }
    guard bytes[4] == 2, bytes[5] == 1 else {
      throw SluiceError(
        .badInput, "\(path) is foreign: not a 64-bit little-endian ELF file.")
    }
    switch number(18, 2) {
    case 62: architecture = .x86
    case 183: architecture = .aarch64
    case let machine:
      throw SluiceError(
        .badInput,
        "\(path) is foreign: ELF machine \(machine), neither x86-64 nor 64-bit Arm.")
    }
    let cut = SluiceError(.badInput, "\(path) is damaged: it ends before its header says it does.")
    // The tables of segments and sections, then each segment's bytes.
    for (offset, entrySize, count) in [(32, 54, 56), (40, 58, 60)] {
      let (start, length) = (number(offset, 7), number(entrySize, 2) * number(count, 2))
      guard bytes[offset + 7] == 0, start + length <= bytes.count else { throw cut }
    }
    let (start, size, count) = (number(32, 7), number(54, 2), number(56, 2))
    guard count == 0 || size >= 56 else { throw cut }
    for index in 0..<count {
      let entry = start + index * size
      let (offset, length) = (number(entry + 8, 7), number(entry + 32, 7))
      guard bytes[entry + 15] == 0, bytes[entry + 39] == 0, offset + length <= bytes.count else {
        throw cut
      }
    }
  }
}
