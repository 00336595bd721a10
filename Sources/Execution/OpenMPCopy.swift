import Targets

/// The OpenMP runtime beside a library that needs it, so that its folder stands alone.
package struct OpenMPCopy {
  /// How its file names begin.
  static let prefix = "libomp.so"

  /// The name that the loader looks for.
  private let name: String
  private let content: [UInt8]
  private let compiler: String

  /// `nil` for a library that has no threads.
  package init?(for library: [UInt8], _ toolchain: Toolchain) async throws(SluiceError) {
    guard let name = Self.needed(by: library) else { return nil }
    self.name = name
    compiler = toolchain.version.line
    content = try await asSentence {
      guard let path = try await toolchain.openMPRuntime() else {
        throw SluiceError(
          .toolchain,
          "clang \(toolchain.version) has no OpenMP runtime for the package. "
            + "Install it (apt-get install libomp-\(toolchain.version.major)-dev).")
      }
      return try Files.read(path)
    }
  }

  /// Writes the runtime, and beside it whose it is.
  package func write(into folder: String) throws {
    try Files.write(content, to: "\(folder)/\(name)")
    try Files.makeExecutable("\(folder)/\(name)")
    try Files.write(
      "\(name) is LLVM's OpenMP runtime, an unchanged copy from \(compiler); its licence is the "
        + "Apache License 2.0 with LLVM Exceptions, https://llvm.org/LICENSE.txt.\n",
      to: "\(folder)/\(name).LICENSE.txt")
  }

  /// The runtime's name in the library's table of strings. Text between two zeros is looked at once: a
  /// library for a card holds a megabyte of it in one piece.
  private static func needed(by library: [UInt8]) -> String? {
    let sign = Array(prefix.utf8)
    let name = library.split(separator: 0).first { $0.starts(with: sign) && $0.count <= 32 }
    return name.map { String(decoding: $0, as: UTF8.self) }
  }
}
