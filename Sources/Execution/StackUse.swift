import Targets

/// Follows one function's stack: its frame, and the vector registers that it parks there.
///
/// A spill is a vector register stored to a fixed place of the frame that a vector instruction reads
/// again. A local array that is only ever indexed by constants looks the same; one indexed by a register
/// is told apart.
struct StackUse {
  private(set) var frame = 0
  /// Where vectors are stored and read, by the place of the frame, as bytes from the function's start.
  private var stores: [Substring: [Int]] = [:]
  private var reloads: [Substring: [Int]] = [:]
  private var framePointer = false

  /// Vector stores to places that are also read back, by where they stand.
  var spillStores: [Int] { stores.filter { reloads[$0.key] != nil }.flatMap(\.value) }
  /// Vector reads of places that were also stored to, by where they stand.
  var spillReloads: [Int] { reloads.filter { stores[$0.key] != nil }.flatMap(\.value) }

  /// Takes the instruction into account that stands `offset` bytes from the function's start.
  mutating func visit(_ instruction: Instruction, at offset: Int) {
    followFrame(instruction)
    guard let slot = slot(instruction) else { return }
    if instruction.kind == .store {
      stores[slot, default: []].append(offset)
    } else {
      reloads[slot, default: []].append(offset)
    }
  }

  private mutating func followFrame(_ instruction: Instruction) {
    let operands = instruction.operands
    guard operands.count >= 2 else { return }
    switch (instruction.mnemonic, operands[0], operands[1]) {
    case ("sub", "rsp", let size): frame += Self.number(size)
    case ("sub", "sp", "sp") where operands.count > 2:
      let isShifted = operands.count > 3 && operands[3].contains("12")
      frame += Self.number(operands[2]) << (isShifted ? 12 : 0)
    case ("mov", "rbp", "rsp"), ("mov", "x29", "sp"), ("add", "x29", "sp"): framePointer = true
    default:
      // `stp x29, x30, [sp, #-64]!` makes room as it stores.
      if let last = operands.last, last.hasPrefix("[sp, #-"), last.hasSuffix("]!") {
        frame += Self.number(last.dropFirst("[sp, #-".count).dropLast(2))
      }
    }
  }

  /// The fixed place of the frame that a vector instruction touches.
  private func slot(_ instruction: Instruction) -> Substring? {
    guard let address = instruction.address else { return nil }
    let isX86 = instruction.architecture == .x86
    let pointers: [Substring] = isX86 ? ["rsp", "rbp"] : ["sp", "x29"]
    guard let base = pointers.first(where: { address.hasPrefix($0) }) else { return nil }
    if base == pointers[1] && !framePointer { return nil }
    // An index register: an array, not a spill.
    let offset = address.dropFirst(base.count)
    let names = offset.contains { $0.isLetter && $0 != "x" } || offset.contains("*")
    if names || (!isX86 && offset.contains("x")) { return nil }
    if isX86 {
      return instruction.operands.contains { $0.contains("mm") && !$0.contains("[") }
        ? address : nil
    }
    // Arm saves the lower halves of some vector registers for its caller: no spill.
    return instruction.operands.contains { $0.hasPrefix("q") || $0.hasPrefix("v") } ? address : nil
  }

  /// `64`, `0x40` or `#64` as a number; 0 if it is none.
  private static func number(_ text: Substring) -> Int {
    let digits = text.drop { $0 == "#" || $0 == " " }
    if digits.hasPrefix("0x") { return Int(digits.dropFirst(2), radix: 16) ?? 0 }
    return Int(digits) ?? 0
  }
}
