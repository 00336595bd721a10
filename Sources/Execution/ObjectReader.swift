import CLLVM
import Targets

/// Reads compiled libraries back through LLVM: finds the functions and counts what they are made of.
public enum ObjectReader {
  /// The report on the library (or object file) at `path`; throws a sentence if it is none.
  public static func report(on path: String) throws -> ObjectReport {
    let header = try ELFHeader(try Files.read(path), path: path)
    var buffer: LLVMMemoryBufferRef?
    var message: UnsafeMutablePointer<CChar>?
    guard LLVMCreateMemoryBufferWithContentsOfFile(path, &buffer, &message) == 0 else {
      throw SluiceError(.io, "Cannot read \(path): \(take(message)).")
    }
    defer { LLVMDisposeMemoryBuffer(buffer) }
    guard let binary = LLVMCreateBinary(buffer, nil, &message) else {
      throw SluiceError(.badInput, "\(path) is damaged: \(take(message)).")
    }
    defer { LLVMDisposeBinary(binary) }
    let disassembler = try Disassembler(header.architecture)
    let functions = codeRanges(of: binary).map { range in
      disassembler.count(range)
    }
    return ObjectReport(architecture: header.architecture, functions: functions)
  }

  /// A function's name, address and bytes; the bytes are the binary's, valid as long as it is.
  struct CodeRange {
    var name: String
    var address: UInt64
    var bytes: UnsafeBufferPointer<UInt8>
  }

  /// The functions of `.text`, by address; where several names share one, the first.
  private static func codeRanges(of binary: LLVMBinaryRef) -> [CodeRange] {
    let section = LLVMObjectFileCopySectionIterator(binary)
    defer { LLVMDisposeSectionIterator(section) }
    var ranges: [UInt64: CodeRange] = [:]
    while LLVMObjectFileIsSectionIteratorAtEnd(binary, section) == 0 {
      defer { LLVMMoveToNextSection(section) }
      guard let name = LLVMGetSectionName(section), String(cString: name).hasPrefix(".text"),
        let contents = LLVMGetSectionContents(section)
      else { continue }
      let start = LLVMGetSectionAddress(section)
      let size = LLVMGetSectionSize(section)
      let symbol = LLVMObjectFileCopySymbolIterator(binary)
      defer { LLVMDisposeSymbolIterator(symbol) }
      while LLVMObjectFileIsSymbolIteratorAtEnd(binary, symbol) == 0 {
        defer { LLVMMoveToNextSymbol(symbol) }
        let length = LLVMGetSymbolSize(symbol)
        let address = LLVMGetSymbolAddress(symbol)
        guard LLVMGetSectionContainsSymbol(section, symbol) != 0, length > 0, address >= start,
          address - start <= size, length <= size - (address - start), ranges[address] == nil
        else { continue }
        let bytes = UnsafeRawPointer(contents + Int(address - start))
          .assumingMemoryBound(to: UInt8.self)
        ranges[address] = CodeRange(
          name: LLVMGetSymbolName(symbol).map { String(cString: $0) } ?? "",
          address: address, bytes: UnsafeBufferPointer(start: bytes, count: Int(length)))
      }
    }
    return ranges.values.sorted { $0.address < $1.address }
  }

  private static func take(_ message: UnsafeMutablePointer<CChar>?) -> String {
    guard let message else { return "no reason is given" }
    defer { LLVMDisposeMessage(message) }
    return String(cString: message)
  }
}

/// LLVM's disassembler for one architecture.
private final class Disassembler {
  private let context: LLVMDisasmContextRef
  private let architecture: Target.Architecture

  private static let initialise: Void = {
    LLVMInitializeX86TargetInfo()
    LLVMInitializeX86TargetMC()
    LLVMInitializeX86Disassembler()
    LLVMInitializeAArch64TargetInfo()
    LLVMInitializeAArch64TargetMC()
    LLVMInitializeAArch64Disassembler()
  }()

  init(_ architecture: Target.Architecture) throws {
    _ = Self.initialise
    let features = architecture == .aarch64 ? "+all" : ""
    guard
      let context = LLVMCreateDisasmCPUFeatures(
        architecture.triple, "", features, nil, 0, nil, nil)
    else {
      throw SluiceError(.unsupported, "This LLVM has no disassembler for \(architecture.title).")
    }
    if architecture == .x86 { LLVMSetDisasmOptions(context, UInt64(SluiceLLVMIntelSyntax)) }
    self.context = context
    self.architecture = architecture
  }

  deinit { LLVMDisasmDispose(context) }

  /// Disassembles a function and counts; a byte that is no instruction is stepped over.
  func count(_ range: ObjectReader.CodeRange) -> ObjectReport.Function {
    var function = ObjectReport.Function(
      name: range.name, size: range.bytes.count, instructions: 0, mix: [:],
      vectorInstructions: [:], spillStores: 0, spillReloads: 0, loopSpills: 0, frameSize: 0)
    var stack = StackUse()
    var loops = InnermostLoops()
    var text = [CChar](repeating: 0, count: 256)
    var offset = 0
    while offset < range.bytes.count {
      let start = UnsafeMutablePointer(mutating: range.bytes.baseAddress! + offset)
      let length = LLVMDisasmInstruction(
        context, start, UInt64(range.bytes.count - offset), range.address + UInt64(offset),
        &text, text.count)
      guard length > 0 else {
        offset += architecture == .aarch64 ? 4 : 1
        continue
      }
      let place = offset
      offset += length
      let line = text.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
      let instruction = Instruction(line, architecture)
      if instruction.mnemonic.hasPrefix("nop") { continue }
      function.instructions += 1
      function.mix[instruction.kind, default: 0] += 1
      if let width = instruction.width {
        function.vectorInstructions[width.rawValue, default: 0] += 1
      }
      stack.visit(instruction, at: place)
      loops.visit(instruction, from: place, to: offset)
    }
    let (stores, reloads) = (stack.spillStores, stack.spillReloads)
    let innermost = loops.ranges
    function.spillStores = stores.count
    function.spillReloads = reloads.count
    function.loopSpills = (stores + reloads).count { place in
      innermost.contains { $0.contains(place) }
    }
    function.frameSize = stack.frame
    return function
  }
}
