import Glibc
import Targets

/// An open file that is read piece by piece: a tensor's bytes are held once.
final class InputFile {
  let size: Int
  private let path: String
  private let descriptor: Int32

  init(_ path: String) throws(SluiceError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    var status = stat()
    guard descriptor >= 0, fstat(descriptor, &status) == 0 else {
      let error = Files.failure("read", path, .io)
      if descriptor >= 0 { close(descriptor) }
      throw error
    }
    self.path = path
    self.descriptor = descriptor
    size = Int(status.st_size)
  }

  deinit { close(descriptor) }

  /// The bytes of a range that lies within the file's size.
  func bytes(_ range: Range<Int>) throws(SluiceError) -> [UInt8] {
    try asSentence {
      try [UInt8](unsafeUninitializedCapacity: range.count) { buffer, count in
        count = 0
        while count < range.count {
          let got = pread(
            descriptor, buffer.baseAddress! + count, range.count - count,
            off_t(range.lowerBound + count))
          if got < 0, errno == EINTR { continue }
          guard got >= 0 else { throw Files.failure("read", path, .io) }
          guard got > 0 else {
            throw SluiceError(.io, "\(path) became shorter while it was read.")
          }
          count += got
        }
      }
    }
  }
}
