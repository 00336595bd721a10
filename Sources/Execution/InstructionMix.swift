import Targets

/// What a machine instruction does, as far as its mnemonic and operands tell.
public enum InstructionClass: String, Hashable, Codable, Sendable, CaseIterable,
  CodingKeyRepresentable
{
  /// Multiply and add in one, and the dot products of narrow types.
  case fma
  case load
  case store
  /// Moves between the lanes of registers: permutes, unpacks, broadcasts of a register.
  case shuffle
  case convert
  case branch
  case call
  case other
}

/// A vector register's width, from `v64` (half of Arm's) to `v512`; the raw value is its bits.
public enum VectorWidth: Int, Hashable, Codable, Sendable, CaseIterable, Comparable {
  case v64 = 64
  case v128 = 128
  case v256 = 256
  case v512 = 512

  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// One disassembled instruction: mnemonic and operands, destination first.
package struct Instruction {
  var mnemonic: Substring
  var operands: [Substring]
  var architecture: Target.Architecture

  /// Reads a line such as `vfmadd231ps zmm0, zmm1, zmmword ptr [rdi + 64]`.
  package init(_ text: String, _ architecture: Target.Architecture) {
    let line = text.prefix { $0 != "#" && $0 != ";" }
    let words = line.split(maxSplits: 1) { $0 == " " || $0 == "\t" }
    mnemonic = words.first ?? ""
    operands = words.count > 1 ? Self.split(words[1]) : []
    self.architecture = architecture
  }

  /// Splits at the commas outside brackets and braces.
  private static func split(_ text: Substring) -> [Substring] {
    var (depth, parts, start) = (0, [Substring](), text.startIndex)
    for index in text.indices {
      switch text[index] {
      case "[", "{": depth += 1
      case "]", "}": depth -= 1
      case "," where depth == 0:
        parts.append(text[start..<index])
        start = text.index(after: index)
      default: break
      }
    }
    parts.append(text[start...])
    return parts.map { part in
      let tail = part.drop { $0 == " " || $0 == "\t" }
      return tail.prefix(
        tail.lastIndex { $0 != " " }.map { tail.distance(from: tail.startIndex, to: $0) + 1 } ?? 0)
    }
  }

  /// The memory operand's address, without its brackets.
  var address: Substring? {
    for operand in operands {
      guard let open = operand.firstIndex(of: "["), let close = operand.lastIndex(of: "]") else {
        continue
      }
      return operand[operand.index(after: open)..<close]
    }
    return nil
  }

  /// What it does.
  package var kind: InstructionClass { architecture == .x86 ? x86Kind : armKind }

  private var x86Kind: InstructionClass {
    func begins(_ prefixes: String...) -> Bool { prefixes.contains { mnemonic.hasPrefix($0) } }
    if begins("call") { return .call }
    if begins("j", "ret", "loop") { return .branch }
    if begins("vfm", "vfnm", "vdpbf16", "vdpph", "vpdp", "tdp") { return .fma }
    if begins("vcvt", "cvt", "vpmovz", "vpmovs", "pmovzx", "pmovsx") { return .convert }
    if begins("vgather", "vpgather") { return .load }
    if begins("vscatter", "vpscatter") { return .store }
    let readsMemory = operands.dropFirst().contains { $0.contains("[") }
    if begins("vbroadcast", "vpbroadcast") { return readsMemory ? .load : .shuffle }
    if begins(
      "vperm", "vpperm", "vpshuf", "pshuf", "vshuf", "shuf", "vunpck", "unpck", "vpunpck",
      "punpck", "vinsert", "vextract", "vpalign", "palign", "valign", "vmovddup", "vmovshdup",
      "vmovsldup", "vmovlh", "vmovhl", "vpack", "vpcompress", "vpexpand", "vcompress", "vexpand")
    {
      return .shuffle
    }
    if begins("mov", "vmov", "kmov", "push", "pop") {
      if begins("push") || operands.first?.contains("[") == true { return .store }
      return begins("pop") || readsMemory ? .load : .other
    }
    return .other
  }

  private var armKind: InstructionClass {
    func begins(_ prefixes: String...) -> Bool { prefixes.contains { mnemonic.hasPrefix($0) } }
    if mnemonic == "bl" || mnemonic.hasPrefix("blr") { return .call }
    if mnemonic == "b" || begins("b.", "cbz", "cbnz", "tbz", "tbnz", "ret", "br") {
      return mnemonic == "brk" ? .other : .branch
    }
    if begins(
      "fmla", "fmls", "fmadd", "fmsub", "fnmadd", "fnmsub", "bfdot", "bfml", "bfmmla", "fmmla")
    {
      return .fma
    }
    if begins("fcvt", "scvtf", "ucvtf", "bfcvt", "shll", "ushll", "sshll", "xtn") {
      return .convert
    }
    if begins("ldr", "ldp", "ldu", "ld1", "ld2", "ld3", "ld4", "ldn", "lda") { return .load }
    if begins("str", "stp", "stu", "st1", "st2", "st3", "st4", "stn", "stl") { return .store }
    if begins("zip", "uzp", "trn", "ext", "tbl", "tbx", "dup", "ins", "rev") { return .shuffle }
    return .other
  }

  /// The widest vector that it works on; `nil` for a scalar instruction, in whichever register.
  package var width: VectorWidth? { architecture == .x86 ? x86Width : armWidth }

  private var x86Width: VectorWidth? {
    if operands.contains(where: { $0.contains("zmm") }) { return .v512 }
    if operands.contains(where: { $0.contains("ymm") }) { return .v256 }
    guard operands.contains(where: { $0.contains("xmm") }) else { return nil }
    let scalar = ["ss", "sd", "ss2si", "sd2si", "si2ss", "si2sd", "2usi", "movd", "movq"]
    let isScalar = scalar.contains { mnemonic.hasSuffix($0) } && !mnemonic.contains("broadcast")
    return isScalar ? nil : .v128
  }

  private var armWidth: VectorWidth? {
    var widest: VectorWidth?
    for operand in operands {
      let name = operand.drop { $0 == "{" || $0 == " " }
      guard let letter = name.first, name.dropFirst().first?.isNumber == true else { continue }
      if letter == "q" { return .v128 }
      guard letter == "v", let dot = name.firstIndex(of: ".") else { continue }
      let shape = name[name.index(after: dot)...].prefix { $0 != "[" && $0 != "}" && $0 != "," }
      let half = ["8b", "4h", "2s", "1d"].contains(
        String(shape.prefix { $0.isNumber || $0.isLetter }))
      widest = max(widest ?? .v64, half ? .v64 : .v128)
    }
    return widest
  }
}
