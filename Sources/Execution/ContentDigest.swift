import Crypto

/// SHA-256 as lower-case hexadecimal: what names a cache entry and seals a library.
public enum ContentDigest {
  /// The digest of bytes in memory: 64 hexadecimal digits.
  public static func sha256(_ bytes: some Sequence<UInt8>) -> String {
    SHA256.hash(data: Array(bytes)).map { byte in
      let digits = String(byte, radix: 16)
      return byte < 16 ? "0" + digits : digits
    }.joined()
  }

  /// The digest of a text's UTF-8.
  public static func sha256(_ text: String) -> String { sha256(Array(text.utf8)) }

  /// The digest of a file's content; throws a sentence if it cannot be read.
  public static func sha256(ofFile path: String) throws -> String {
    sha256(try Files.read(path))
  }
}
