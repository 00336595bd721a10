import Execution
import Testing

/// Sources for a card that are compiled in two parts.
@Suite struct CardPartsTests {
  private func source(_ kernels: Int) -> String {
    let texts = (0..<kernels).map { "SL_KERNEL void k\($0)() {\n  if (1) {\n  }\n}" }
    return (["// words"] + texts + ["// the processor's part", ""]).joined(separator: "\n\n")
  }

  @Test func aKernelIsInOnePartAndOnTheSameLines() {
    let whole = source(5)
    #expect(CardParts.split(source(3)) == [source(3)])
    func lines(_ text: String) -> [Substring] {
      text.split(separator: "\n", omittingEmptySubsequences: false)
    }
    let parts = CardParts.split(whole).map(lines)
    #expect(parts.count == 2)
    for (index, line) in lines(whole).enumerated() {
      let found = parts.map { $0[index] }
      #expect(found.allSatisfy { $0 == line || $0.isEmpty })
      #expect(found.filter { $0 == line }.count == (line.hasPrefix("//") || line.isEmpty ? 2 : 1))
    }
    #expect(parts.map { part in part.filter { $0.hasPrefix("SL_KERNEL") }.count } == [3, 2])
  }

  @Test func theirCodeIsOneText() {
    func part(_ name: String, _ more: String = "") -> [UInt8] {
      Array(
        """
        //
        .version 8.0
        .target sm_90a
        .address_size 64
        \(more)
        \t// .globl \(name)
        .extern .shared .align 1024 .b8 scratch[];
        .visible .entry \(name)(
        )
        .maxntid 512
        {
        .reg .u64 at;
        }
        """.utf8)
    }
    let whole = CardParts.join([part("a"), part("b")]).map { String(decoding: $0, as: UTF8.self) }
    for once in [".version", ".target", ".extern .shared", ".entry a(", ".entry b("] {
      #expect(whole?.components(of: once) == 1)
    }
    #expect(whole?.components(of: ".maxntid 512") == 2)
    #expect(CardParts.join([part("a"), part("b", ".global .align 4 .b8 table[16];")]) == nil)
  }
}

extension String {
  fileprivate func components(of word: String) -> Int { ranges(of: word).count }
}
