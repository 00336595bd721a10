// The few functions of LLVM 22's C API that Sluice calls, declared here so that
// no include path is needed. Names and types are those of <llvm-c/*.h>.
#ifndef SLUICE_CLLVM_H
#define SLUICE_CLLVM_H

#include <stddef.h>
#include <stdint.h>

typedef int LLVMBool;
typedef struct LLVMOpaqueMemoryBuffer *LLVMMemoryBufferRef;
typedef struct LLVMOpaqueBinary *LLVMBinaryRef;
typedef struct LLVMOpaqueContext *LLVMContextRef;
typedef struct LLVMOpaqueSectionIterator *LLVMSectionIteratorRef;
typedef struct LLVMOpaqueSymbolIterator *LLVMSymbolIteratorRef;
typedef void *LLVMDisasmContextRef;

void LLVMGetVersion(unsigned *major, unsigned *minor, unsigned *patch);

// The host. Both strings are released with LLVMDisposeMessage.
char *LLVMGetHostCPUName(void);
char *LLVMGetHostCPUFeatures(void);
void LLVMDisposeMessage(char *message);

// Object files.
LLVMBool LLVMCreateMemoryBufferWithContentsOfFile(
    const char *path, LLVMMemoryBufferRef *buffer, char **message);
const char *LLVMGetBufferStart(LLVMMemoryBufferRef buffer);
size_t LLVMGetBufferSize(LLVMMemoryBufferRef buffer);
void LLVMDisposeMemoryBuffer(LLVMMemoryBufferRef buffer);

LLVMBinaryRef LLVMCreateBinary(
    LLVMMemoryBufferRef buffer, LLVMContextRef context, char **message);
void LLVMDisposeBinary(LLVMBinaryRef binary);

LLVMSectionIteratorRef LLVMObjectFileCopySectionIterator(LLVMBinaryRef binary);
LLVMBool LLVMObjectFileIsSectionIteratorAtEnd(
    LLVMBinaryRef binary, LLVMSectionIteratorRef section);
void LLVMMoveToNextSection(LLVMSectionIteratorRef section);
void LLVMDisposeSectionIterator(LLVMSectionIteratorRef section);
const char *LLVMGetSectionName(LLVMSectionIteratorRef section);
uint64_t LLVMGetSectionSize(LLVMSectionIteratorRef section);
uint64_t LLVMGetSectionAddress(LLVMSectionIteratorRef section);
const char *LLVMGetSectionContents(LLVMSectionIteratorRef section);
LLVMBool LLVMGetSectionContainsSymbol(
    LLVMSectionIteratorRef section, LLVMSymbolIteratorRef symbol);

LLVMSymbolIteratorRef LLVMObjectFileCopySymbolIterator(LLVMBinaryRef binary);
LLVMBool LLVMObjectFileIsSymbolIteratorAtEnd(
    LLVMBinaryRef binary, LLVMSymbolIteratorRef symbol);
void LLVMMoveToNextSymbol(LLVMSymbolIteratorRef symbol);
void LLVMDisposeSymbolIterator(LLVMSymbolIteratorRef symbol);
const char *LLVMGetSymbolName(LLVMSymbolIteratorRef symbol);
uint64_t LLVMGetSymbolAddress(LLVMSymbolIteratorRef symbol);
uint64_t LLVMGetSymbolSize(LLVMSymbolIteratorRef symbol);

// The disassembler, for the two architectures that kernels are compiled for.
void LLVMInitializeX86TargetInfo(void);
void LLVMInitializeX86TargetMC(void);
void LLVMInitializeX86Disassembler(void);
void LLVMInitializeAArch64TargetInfo(void);
void LLVMInitializeAArch64TargetMC(void);
void LLVMInitializeAArch64Disassembler(void);

LLVMDisasmContextRef LLVMCreateDisasmCPUFeatures(
    const char *triple, const char *cpu, const char *features, void *info, int tag_type,
    void *operand_callback, void *symbol_callback);
// Intel's operand order on x86 (destination first), as AArch64 has it anyway.
enum { SluiceLLVMIntelSyntax = 4 };
int LLVMSetDisasmOptions(LLVMDisasmContextRef disassembler, uint64_t options);
size_t LLVMDisasmInstruction(
    LLVMDisasmContextRef disassembler, uint8_t *bytes, uint64_t size, uint64_t address,
    char *text, size_t capacity);
void LLVMDisasmDispose(LLVMDisasmContextRef disassembler);

// Whether the operating system lets this process use AMX's registers: LLVM knows
// only that the processor has them. arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
// has no prototype in C's headers, and asking again changes nothing.
static inline int sluice_matrix_permitted(void) {
#if defined(__x86_64__) && defined(__linux__)
  long result = 158;
  register long request __asm__("rdi") = 0x1023, feature __asm__("rsi") = 18;
  __asm__ volatile("syscall" : "+a"(result) : "r"(request), "r"(feature) : "rcx", "r11", "memory");
  return result == 0;
#else
  return 0;
#endif
}

#endif
