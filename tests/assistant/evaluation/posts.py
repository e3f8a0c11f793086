"""What people paste into a forum besides their question: whole macros, stack traces, greetings and the form's version table."""

from __future__ import annotations

from dataclasses import replace

from assistant.evaluation import Golden

MACROS = (
    """```cpp
#include <TFile.h>
#include <TTree.h>
#include <TH1F.h>
#include <TCanvas.h>
#include <iostream>
#include <vector>
using namespace std;
void analysis(const char *name = "input.root") {
   gStyle->SetOptStat(0);
   TFile *file = TFile::Open(name);
   if (!file || file->IsZombie()) { cout << "cannot open " << name << endl; return; }
   TTree *tree = (TTree *)file->Get("Events");
   float pt, eta; vector<float> *energy = nullptr;
   tree->SetBranchAddress("pt", &pt);
   tree->SetBranchAddress("eta", &eta);
   tree->SetBranchAddress("energy", &energy);
   TH1F *hpt = new TH1F("hpt", "p_{T};p_{T} [GeV];entries", 100, 0, 200);
   for (Long64_t i = 0; i < tree->GetEntries(); i++) {
      tree->GetEntry(i);
      if (fabs(eta) < 2.5) hpt->Fill(pt);
   }
   TCanvas *c1 = new TCanvas("c1", "", 800, 600);
   c1->SetLogy();
   hpt->SetLineColor(kBlue);
   hpt->Draw("HIST");
   TLegend *leg = new TLegend(0.6, 0.7, 0.88, 0.88);
   leg->AddEntry(hpt, "data", "l");
   leg->Draw();
   c1->SaveAs("plot.pdf");
}
```""",
    """```python
import ROOT
import numpy as np
ROOT.gROOT.SetBatch(True)
f = ROOT.TFile.Open("data.root")
t = f.Get("tree")
h = ROOT.TH1D("h", "h", 50, 0, 10)
g = ROOT.TGraphErrors()
for n, ev in enumerate(t):
    h.Fill(ev.x)
    g.SetPoint(n, ev.x, ev.y)
c = ROOT.TCanvas("c", "c", 600, 600)
g.SetMarkerStyle(20)
g.Draw("AP")
h.Fit("gaus", "Q")
c.Print("out.png")
```""",
    """```
 *** Break *** segmentation violation
===========================================================
There was a crash.
This is the entire stack trace of all threads:
===========================================================
#0  0x00007f2a in __GI___wait4 (pid=12345, stat_loc=0x7ffd, options=0) at ../sysdeps/unix/sysv/linux/wait4.c:30
#1  0x00007f2b in do_system (line=<optimized out>) at ../sysdeps/posix/system.c:148
#2  0x00007f2c in TUnixSystem::StackTrace() () from libCore.so
#3  0x00007f2d in TUnixSystem::DispatchSignals(ESignals) () from libCore.so
#4  <signal handler called>
#5  0x00007f2e in TBranch::GetEntry(long long, int) () from libTree.so
#6  0x00007f2f in TTree::GetEntry(long long, int) () from libTree.so
#7  0x00007f30 in cling::IncrementalExecutor::executeWrapper () from libCling.so
#8  0x00007f31 in TCling::ProcessLine(char const*, TInterpreter::EErrorCode*) () from libCling.so
#9  0x00007f32 in TApplication::ProcessFile(char const*, int*, bool) () from libCore.so
===========================================================
```""",
)


def pasted(golden: Golden, number: int) -> Golden:
    """The same question with the `number`-th macro or trace around it."""
    question = (
        f"Dear ROOT experts,\n\n{golden.question}\n\nThis is what I have at the moment:\n\n{MACROS[number % len(MACROS)]}\n\n"
        "Thanks a lot in advance for any hint!\nBest regards,\nMarie\n\n"
        "---\n_ROOT Version:_ 6.32/04\n_Platform:_ Ubuntu 22.04\n_Compiler:_ gcc 11.4\n"
    )
    return replace(golden, question=question)
