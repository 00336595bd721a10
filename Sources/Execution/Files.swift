import Glibc
import Targets

/// The few calls on files that Sluice makes, each of whose failures is a sentence.
public enum Files {
  /// The whole content of a file.
  public static func read(_ path: String) throws -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure("read", path, .io) }
    defer { close(descriptor) }
    var content: [UInt8] = []
    while true {
      let chunk = try [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
        let got = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
        guard got >= 0 else { throw failure("read", path, .io) }
        count = got
      }
      if chunk.isEmpty { return content }
      content += chunk
    }
  }

  /// Writes a new file, or replaces one, byte for byte; on failure nothing of it is left.
  public static func write(_ bytes: [UInt8], to path: String) throws {
    try write([bytes], to: path)
  }

  /// Writes a file of several parts, one after the other.
  static func write(_ parts: [[UInt8]], to path: String) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw failure("create", path, .cannotCreate) }
    for bytes in parts {
      var written = 0
      while written < bytes.count {
        let count = bytes.withUnsafeBytes {
          Glibc.write(descriptor, $0.baseAddress! + written, bytes.count - written)
        }
        if count < 0 {
          if errno == EINTR { continue }
          let error = failure("write", path, .io)
          close(descriptor)
          if isRegular(path) { unlink(path) }
          throw error
        }
        written += count
      }
    }
    guard close(descriptor) == 0 else { throw failure("write", path, .io) }
  }

  /// Writes the text's UTF-8 as ``write(_:to:)-([UInt8],_)`` does.
  public static func write(_ text: String, to path: String) throws {
    try write(Array(text.utf8), to: path)
  }

  /// Bytes of a file.
  public static func size(_ path: String) throws -> Int {
    var status = stat()
    guard stat(path, &status) == 0 else { throw failure("read", path, .io) }
    return Int(status.st_size)
  }

  /// Makes a folder and those above it; one that is there already is no error.
  public static func makeFolder(_ path: String, mode: mode_t = 0o777) throws {
    if isFolder(path) { return }
    let parent = Self.parent(of: path)
    if parent != path { try makeFolder(parent) }
    if mkdir(path, mode) != 0 && !(errno == EEXIST && isFolder(path)) {
      throw failure("create the folder", path, .cannotCreate)
    }
  }

  /// Makes a folder that nobody else has, in an existing one: `<folder>/<prefix>XXXXXX`.
  public static func makeUniqueFolder(in folder: String, prefix: String) throws -> String {
    var template = Array("\(folder)/\(prefix)XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw failure("create a folder in", folder, .cannotCreate)
    }
    chmod(template, 0o755)
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Lets everyone run the file.
  public static func makeExecutable(_ path: String) throws {
    guard chmod(path, 0o755) == 0 else { throw failure("change", path, .cannotCreate) }
  }

  /// Renames atomically within one file system; a file there is replaced.
  public static func rename(_ source: String, to destination: String) throws {
    guard Glibc.rename(source, destination) == 0 else {
      throw failure("create", destination, .cannotCreate)
    }
  }

  /// Removes a file, or a folder with what is in it; what is not there is no error.
  public static func remove(_ path: String) {
    if !isFolder(path) || unlink(path) == 0 {
      unlink(path)
      return
    }
    for name in names(in: path) { remove("\(path)/\(name)") }
    rmdir(path)
  }

  /// The names in a folder, sorted; none if it cannot be read.
  public static func names(in folder: String) -> [String] {
    guard let stream = opendir(folder) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = Glibc.readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// Whether a folder (or a link to one) stands at the path.
  public static func isFolder(_ path: String) -> Bool { mode(path) & S_IFMT == S_IFDIR }

  /// Whether a regular file (or a link to one) stands at the path.
  public static func isRegular(_ path: String) -> Bool { mode(path) & S_IFMT == S_IFREG }

  /// The path without its last component; `.` for a bare name.
  public static func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// How the sentence about a full disk can be told from the others.
  static let full = "the disk is full"

  /// The sentence for the current `errno` after failing to do `action` to `path`.
  static func failure(_ action: String, _ path: String, _ kind: SluiceError.Kind) -> SluiceError {
    let code = errno
    let why =
      switch code {
      case ENOSPC, EDQUOT: "\(full); free some room, or choose another folder"
      case EROFS: "the file system is read-only"
      case EACCES, EPERM: "permission is denied"
      case ENOENT: "there is no such file or folder"
      case ENOTDIR, EEXIST: "a part of the path is not a folder"
      default: String(cString: strerror(code))
      }
    let noRoom = code == ENOSPC || code == EDQUOT
    return SluiceError(noRoom ? .cannotCreate : kind, "Cannot \(action) \(path): \(why).")
  }

  private static func mode(_ path: String) -> mode_t {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_mode : 0
  }
}
