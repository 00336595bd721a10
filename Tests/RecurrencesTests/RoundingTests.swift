import Recurrences
import TestSupport
import Testing

/// Rounding to the types of tensors, and their bytes.
@Suite struct RoundingTests {
  @Test func singlePrecisionIsTheMachines() {
    var random = Seeded()
    for _ in 0..<20000 {
      let number = Double(bitPattern: UInt64.random(in: .min ... .max, using: &random))
      let near = Double(Float(bitPattern: UInt32.random(in: .min ... .max, using: &random)))
      for number in [number, near, near * (1 + 0x1p-25), near * (1 - 0x1p-30)] {
        let (got, want) = (ElementType.f32.rounded(number), Double(Float(number)))
        #expect(got == want || got.isNaN && want.isNaN, "\(number), seed \(random.seed)")
      }
    }
  }

  #if !(os(macOS) && arch(x86_64))
    @Test func halfPrecisionIsTheMachines() {
      for bits in UInt16.min...UInt16.max {
        let number = Double(Float16(bitPattern: bits))
        for number in [number, number * (1 + 0x1p-11), number * (1 + 0x1p-12), number * 1.0003] {
          let (got, want) = (ElementType.f16.rounded(number), Double(Float16(number)))
          if got != want, !(got.isNaN && want.isNaN) { Issue.record("\(number): \(got), \(want)") }
        }
      }
    }
  #endif

  @Test func brainFloatTies() {
    let type = ElementType.bf16
    #expect(type.rounded(1 + 0x1p-8) == 1)
    #expect(type.rounded(1 + 3 * 0x1p-8) == 1 + 0x1p-6)
    // One rounding, not two: by way of f32 this would be a tie.
    #expect(type.rounded(1 + 0x1p-8 + 0x1p-40) == 1 + 0x1p-7)
    #expect(type.rounded(-3e38) == -type.rounded(3e38))
    #expect(type.rounded(type.largest * (1 + 0x1p-8)) == .infinity)
    #expect(type.rounded(type.largest * (1 + 0x1p-10)) == type.largest)
    #expect(type.rounded(-0.0).sign == .minus)
    #expect(type.rounded(0x1p-134) == 0)
    #expect(type.rounded(0x1.8p-134) == 0x1p-133)
  }

  @Test(arguments: ElementType.allCases)
  func relativeErrorStaysBelowRoundoff(_ type: ElementType) {
    var random = Seeded()
    for _ in 0..<5000 {
      let number = Double.random(in: 1...2, using: &random)
      #expect(abs(type.rounded(number) - number) <= type.roundoff, "seed \(random.seed)")
    }
    #expect(type.rounded(1 + 1.01 * type.roundoff) == 1 + 2 * type.roundoff)
  }

  @Test(arguments: [ElementType.bf16, .f16])
  func everyPatternOfTwoBytes(_ type: ElementType) {
    var wrong: [Int] = []
    for bits in 0...0xFFFF {
      let bytes = [UInt8(bits & 0xFF), UInt8(bits >> 8)]
      let number = type.unpacked(bytes)[0]
      let isSame = type.packed([number]) == bytes || number.isNaN
      if !isSame || type.rounded(number) != number && !number.isNaN { wrong.append(bits) }
    }
    #expect(wrong == [])
    #expect(type.unpacked(type.packed([.nan]))[0].isNaN)
  }

  @Test func bytesOfSinglePrecision() {
    var random = Seeded()
    for _ in 0..<20000 {
      let float = Float(bitPattern: UInt32.random(in: .min ... .max, using: &random))
      if float.isNaN { continue }
      let bits = float.bitPattern
      let bytes = (0..<4).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
      #expect(ElementType.f32.packed([Double(float)]) == bytes, "\(float), seed \(random.seed)")
      #expect(ElementType.f32.unpacked(bytes) == [Double(float)])
    }
    #expect(ElementType.bf16.packed([1]) == [0x80, 0x3F])
  }
}
