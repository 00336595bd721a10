import Glibc

extension Host {
  /// The processor as the kernel's list names it: x86's model with family and model number, or Arm's
  /// implementer and part. It tells machines apart in records; `templates/c/measure.c` reads the same.
  public static let processor: String = {
    let bytes = (try? Files.read("/proc/cpuinfo")) ?? []
    return processor(inList: String(decoding: bytes, as: UTF8.self))
  }()

  /// The first processor of a text as `/proc/cpuinfo` has it.
  package static func processor(inList text: String) -> String {
    var found: [String: String] = [:]
    for row in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if row.isEmpty { break }
      let parts = row.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2 else { continue }
      let name = String(parts[0].reversed().drop { $0 == " " || $0 == "\t" }.reversed())
      let value = parts[1].hasPrefix(" ") ? parts[1].dropFirst() : parts[1]
      found[name] = String(value)
    }
    if let family = found["cpu family"] {
      return "\(found["model name"] ?? ""), family \(family), model \(found["model"] ?? "")"
    }
    if let implementer = found["CPU implementer"] {
      return "implementer \(implementer), part \(found["CPU part"] ?? "")"
    }
    return "an unknown processor"
  }
}
